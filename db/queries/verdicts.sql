-- What did the gate and each of its criteria say about a run? ($run: a prefix, or NULL for all)
SELECT gate, name, kind, status, value, threshold, detail, next_step, run_id FROM verdict
WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') AND kind <> 'hypothesis'
ORDER BY run_id, kind = 'criterion', name;
