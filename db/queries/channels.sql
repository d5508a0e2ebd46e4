-- What does every channel of coherence say of each arm? ($run: a prefix, or NULL for all)
SELECT run_id, arm_id, kind, method, dose, vignettes, p_ans_any, coherence, prefill_nll, ppx_json, frac_unscorable, margin,
    entropy, json_answers, json_valid, texts, distinct_tail, compression, perplexity, tail_perplexity, unended, kl_tokens,
    kl_mean, kl_rmse, kl_p95, kl_max
FROM coherence
WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY run_id, kind, method, dose, arm_id;
