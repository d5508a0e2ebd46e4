-- Which checks drop how many texts, and which of those would every other check keep? ($run: a prefix, or NULL for all)
SELECT name, threshold, direction, dropped, alone, share, base_dropped, base, run_id FROM drop_reason
WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY run_id, dropped DESC, name;
