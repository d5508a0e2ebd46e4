-- Which doses did the controller try, choose and collect at, and why? ($run: a prefix, or NULL for all)
SELECT number, phase, dose, made, survived, kept, note, run_id FROM controller_step
WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY run_id, number;
