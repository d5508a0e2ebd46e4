-- How often is each check right, as the labels have it? ($run: a prefix, or NULL for all)
SELECT name, tp, fp, fn, tn, precision, recall, run_id FROM filter_quality
WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY run_id, name <> 'all checks', name;
