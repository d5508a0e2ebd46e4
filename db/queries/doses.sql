-- How strongly does each strength of a run's directions disturb the model, and where does it meet the target? ($run: a prefix, or NULL for all)
SELECT dose.run_id, direction.method, direction.kind, dose.strength, dose.tokens, kl_mean, kl_rmse, kl_p50, kl_p90, kl_p95,
    kl_max, calibration.target, calibration.strength AS calibrated_strength, calibration.status, dose.direction_id
FROM dose
LEFT JOIN direction ON direction.run_id = dose.run_id AND direction.direction_id = dose.direction_id
LEFT JOIN calibration ON calibration.run_id = dose.run_id AND calibration.direction_id = dose.direction_id
WHERE dose.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY dose.run_id, direction.kind, dose.direction_id, dose.strength;
