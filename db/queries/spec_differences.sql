-- In which settings do two runs differ? ($first and $second: whole run ids)
WITH setting AS (
    SELECT DISTINCT run_id, fullkey[3:] AS setting, atom ->> '$' AS said
    FROM (SELECT run_id, spec FROM run WHERE json_valid(spec)) run, json_tree(run.spec)
    WHERE atom IS NOT NULL
    UNION
    SELECT run_id, 'device', device FROM run
)
SELECT coalesce(a.setting, b.setting) AS setting, a.said AS first_run, b.said AS second_run
FROM (FROM setting WHERE run_id = $first) a
FULL JOIN (FROM setting WHERE run_id = $second) b ON b.setting = a.setting
WHERE a.said IS DISTINCT FROM b.said AND $first IS NOT NULL AND $second IS NOT NULL
ORDER BY setting;
