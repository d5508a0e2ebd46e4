-- What came from what in a run: run > direction or adapter > arm > score, or run > role > completion > decision? ($run: a prefix, or NULL for all)
SELECT depth, repeat('  ', depth::INTEGER) || kind AS node, id, label, run_id FROM lineage
WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY path;
