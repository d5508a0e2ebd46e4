-- Which texts would be kept if thresholds were others? ($run: a prefix, or NULL for all; $thresholds: JSON such as {"perplexity": 80}, NULL for those in force; $changed: true for texts whose fate changes alone; $limit: NULL for all)
-- Values stay as they were measured, also of near_copy, which depends on what else is kept.
WITH again AS (
    SELECT run_id, completion_id,
        bool_and(keep) AS kept,
        coalesce(list(name ORDER BY name) FILTER (NOT keep), []) AS dropped_by,
        bool_and(again) AS would_be_kept,
        coalesce(list(name ORDER BY name) FILTER (NOT again), []) AS would_be_dropped_by
    FROM (
        SELECT *, CASE WHEN moved IS NULL THEN keep
            WHEN direction = 'at most' THEN value <= moved AND isfinite(value)
            ELSE value >= moved AND isfinite(value) END AS again
        FROM (
            SELECT *, json_extract($thresholds::JSON, concat('$."', name, '"'))::DOUBLE AS moved FROM decision
            WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~')
        )
    ) GROUP BY ALL
)
SELECT c.role, c.dose, c.prompt_id, again.kept, again.would_be_kept, c.perplexity, again.dropped_by,
    again.would_be_dropped_by, c.text, c.completion_id, c.run_id
FROM again
JOIN completion c ON c.run_id = again.run_id AND c.completion_id = again.completion_id
WHERE c.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
    AND (NOT coalesce($changed::BOOLEAN, false) OR again.would_be_kept <> again.kept)
ORDER BY c.run_id, again.would_be_kept = again.kept, again.would_be_kept DESC, c.role, c.dose, c.completion_id
LIMIT coalesce($limit::BIGINT, 9223372036854775807);
