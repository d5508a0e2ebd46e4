-- Did an adapter learn without over-fitting, and how far from the reference did it go, by epoch? ($run: a prefix, or NULL for all)
SELECT adapter.role, epoch, train_nll, validation_nll,
    validation_nll - min(validation_nll) OVER so_far AS above_best, validation_divergence, sigma_max, e.adapter_id, e.run_id
FROM heal_epoch e
JOIN adapter ON adapter.run_id = e.run_id AND adapter.adapter_id = e.adapter_id
WHERE e.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
WINDOW so_far AS (PARTITION BY e.run_id, e.adapter_id ORDER BY epoch)
ORDER BY e.run_id, adapter.round, adapter.role, e.adapter_id, epoch;
