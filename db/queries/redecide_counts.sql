-- How many steered texts would be kept at each dose if thresholds were others? ($run: a prefix, or NULL for all; $thresholds: JSON such as {"perplexity": 80}, NULL for those in force)
WITH again AS (
    SELECT run_id, completion_id, bool_and(keep) AS kept,
        bool_and(CASE WHEN moved IS NULL THEN keep
            WHEN direction = 'at most' THEN value <= moved AND isfinite(value)
            ELSE value >= moved AND isfinite(value) END) AS would_be_kept
    FROM (
        SELECT *, json_extract($thresholds::JSON, concat('$."', name, '"'))::DOUBLE AS moved FROM decision
        WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~')
    ) GROUP BY ALL
)
SELECT c.dose, count(*) AS made, count(*) FILTER (again.kept) AS kept,
    count(*) FILTER (again.would_be_kept) AS would_be_kept,
    count(*) FILTER (again.would_be_kept AND NOT again.kept) AS added,
    count(*) FILTER (again.kept AND NOT again.would_be_kept) AS lost, c.run_id
FROM again
JOIN completion c ON c.run_id = again.run_id AND c.completion_id = again.completion_id
WHERE c.run_id BETWEEN coalesce($run, '') AND concat($run, '~') AND c.role IN ('probe', 'collected')
GROUP BY ALL
ORDER BY c.run_id, c.dose;
