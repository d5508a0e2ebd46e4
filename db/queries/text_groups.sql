-- Which sorts of texts has a run, at which doses, and how many of each are kept? ($run: a prefix, or NULL for all)
-- A greedy text's writer is the kind of arm that wrote it; every other text's is the role it was written for.
WITH said AS (
    SELECT run_id, completion_id, bool_and(keep) AS kept FROM decision
    WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') GROUP BY ALL
)
SELECT CASE WHEN coalesce(c.role, 'greedy') = 'greedy' THEN coalesce(arm.kind, 'greedy') ELSE c.role END AS writer,
    count(*) AS texts, count(said.kept) AS decided, count(*) FILTER (said.kept) AS kept,
    count(DISTINCT c.prompt_id) AS prompts, min(c.dose) AS dose_low, max(c.dose) AS dose_high,
    median(c.perplexity) AS median_perplexity, c.run_id
FROM completion c
LEFT JOIN arm ON arm.run_id = c.run_id AND arm.arm_id = c.arm_id
LEFT JOIN said ON said.run_id = c.run_id AND said.completion_id = c.completion_id
WHERE c.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
GROUP BY ALL
ORDER BY c.run_id, writer;
