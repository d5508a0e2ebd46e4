-- What did the model write at each dose, and does it hold together? ($run: a prefix, or NULL for all)
SELECT prompt_id, dose, strength, text, tokens, ended, perplexity, tail_perplexity, distinct_tail, compression,
    list_aggregate(token_kl, 'mean') AS kl_mean, arm_id, direction_id, completion_id, run_id
FROM completion
WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY run_id, prompt_id, dose, completion_id;
