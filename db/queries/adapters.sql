-- How was each adapter of a run trained, and what was measured of it? ($run: a prefix, or NULL for all)
SELECT role, round, train_texts, validation_texts, tau, steps, first_nll, last_nll, validation_nll, over, gradient_ratio,
    update_norm, kl_hooked_baked, kl_base, cosine_teacher, adapter_id, artifact, run_id
FROM adapter_summary
WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY run_id, round, CASE role WHEN 'healed' THEN 0 WHEN 'plain' THEN 1 ELSE 2 END, role, adapter_id;
