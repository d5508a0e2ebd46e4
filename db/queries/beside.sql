-- What did base, steered and healed model answer to one prompt, side by side? ($run: a prefix; $prompt: its id; $system: the system prompt, or NULL for texts without one; $limit: 24)
WITH place AS (
    SELECT run_id, unnest([steered_arm, healed_arm, plain_arm]) AS arm_id, round FROM round
    WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~')
), said AS (
    SELECT run_id, completion_id, bool_and(keep) AS kept,
        coalesce(list(name ORDER BY name) FILTER (NOT keep), []) AS dropped_by
    FROM decision WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') GROUP BY ALL
)
SELECT CASE WHEN coalesce(c.role, 'greedy') = 'greedy' THEN coalesce(arm.kind, 'greedy') ELSE c.role END AS writer,
    place.round, c.dose, c.text, c.prompt, c.system_prompt, c.tokens, c.ended, c.perplexity, c.distinct_tail,
    list_aggregate(c.token_kl, 'mean') AS kl_mean, said.kept, said.dropped_by, c.pieces, c.token_kl, c.arm_id,
    c.completion_id, c.run_id
FROM completion c
LEFT JOIN arm ON arm.run_id = c.run_id AND arm.arm_id = c.arm_id
LEFT JOIN place ON place.run_id = c.run_id AND place.arm_id = c.arm_id
LEFT JOIN said ON said.run_id = c.run_id AND said.completion_id = c.completion_id
WHERE c.run_id BETWEEN coalesce($run, '') AND concat($run, '~') AND c.prompt_id = $prompt
    AND c.system_prompt IS NOT DISTINCT FROM $system
ORDER BY place.round NULLS FIRST,
    CASE writer WHEN 'base' THEN 0 WHEN 'previous' THEN 1 WHEN 'prompt' THEN 2 WHEN 'steered' THEN 3 WHEN 'probe' THEN 3
        WHEN 'collected' THEN 4 WHEN 'plain' THEN 5 WHEN 'healed' THEN 6 ELSE 7 END,
    c.dose, c.completion_id
LIMIT coalesce($limit::INTEGER, 24);
