-- Over which values does each check range on steered texts, and how many does its threshold drop? ($run: a prefix, or NULL for all)
WITH said AS (
    SELECT d.*, count(*) FILTER (NOT d.keep) OVER (PARTITION BY d.run_id, d.completion_id) AS drops
    FROM decision d
    JOIN completion c ON c.run_id = d.run_id AND c.completion_id = d.completion_id
    WHERE d.run_id BETWEEN coalesce($run, '') AND concat($run, '~') AND c.role IN ('probe', 'collected')
)
SELECT name, any_value(direction) AS direction, any_value(threshold) AS threshold,
    min(value) FILTER (isfinite(value)) AS lowest, median(value) FILTER (isfinite(value)) AS middle,
    max(value) FILTER (isfinite(value)) AS highest, count(*) FILTER (NOT isfinite(value)) AS not_finite,
    count(*) AS texts, count(*) FILTER (NOT keep) AS dropped, count(*) FILTER (NOT keep AND drops = 1) AS alone, run_id
FROM said
GROUP BY ALL
ORDER BY run_id, dropped DESC, name;
