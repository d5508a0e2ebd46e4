-- What did each arm of a run score? ($run: a prefix, or NULL for all)
SELECT run_id, arm_id, kind, method, dose, strength, auth_nats, auth_marginal, care_nats, social_norms_nats, coherence, mass,
    frac_unscorable, prefill_nll, vignettes
FROM trait
WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY run_id, CASE kind WHEN 'base' THEN 0 WHEN 'prompt' THEN 1 WHEN 'steered' THEN 2 ELSE 3 END, kind, dose, arm_id;
