-- Which steered texts does every check keep? ($run: a prefix, or NULL for all)
SELECT prompt_id, role, dose, strength, text, tokens, ended, perplexity, kl_mean, kl_p95, gain, completion_id, run_id
FROM text_state
WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') AND kept AND role IN ('probe', 'collected')
ORDER BY run_id, prompt_id, dose, completion_id;
