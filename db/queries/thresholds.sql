-- Which thresholds did a run register, and when? ($run: a prefix, or NULL for all)
WITH registered AS (
    SELECT DISTINCT ON (run_id) run_id, gate, registered_at, thresholds_hash,
        CASE WHEN json_valid(thresholds) THEN thresholds ELSE '{}' END AS thresholds
    FROM run WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~')
)
SELECT threshold.key AS name, threshold.value::DOUBLE AS value, registered_at, thresholds_hash, gate, run_id
FROM registered, json_each(thresholds) threshold
WHERE threshold.type IN ('DOUBLE', 'UBIGINT', 'BIGINT')
ORDER BY registered_at, run_id, name;
