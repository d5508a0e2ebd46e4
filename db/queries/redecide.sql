-- Which texts would be kept if perplexity's threshold were another? ($run: a prefix, or NULL for all; $perplexity: NULL for the one in force)
-- Every other check counts as it was decided, also near_copy, which depends on what else is kept.
WITH again AS (
    SELECT run_id, completion_id,
        bool_and(CASE WHEN name = 'perplexity' THEN value <= coalesce($perplexity::DOUBLE, threshold) AND isfinite(value)
            ELSE keep END) AS would_be_kept
    FROM decision GROUP BY ALL
)
SELECT t.role, t.dose, t.prompt_id, t.kept, again.would_be_kept, t.perplexity, t.dropped_by, t.text, t.completion_id,
    t.run_id
FROM text_state t
JOIN again ON again.run_id = t.run_id AND again.completion_id = t.completion_id
WHERE t.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY t.run_id, again.would_be_kept = t.kept, again.would_be_kept DESC, t.role, t.dose, t.completion_id;
