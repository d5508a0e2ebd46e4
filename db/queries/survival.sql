-- How many of the texts at each dose does every check keep? ($run: a prefix, or NULL for all)
SELECT run_id, role, dose, made, kept, fraction, median_perplexity, mean_gain, mean_kl FROM survival
WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY run_id, role, dose;
