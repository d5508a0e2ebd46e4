-- Which known ways to fail does a run look like, and what should be tried next? ($run: a prefix, or NULL for all)
SELECT gate, name, status, value, threshold, detail, next_step, run_id FROM verdict
WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') AND kind = 'hypothesis'
ORDER BY run_id, CASE status WHEN 'observed' THEN 0 WHEN 'not measured' THEN 1 ELSE 2 END, name;
