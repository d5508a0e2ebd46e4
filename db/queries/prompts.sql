-- Which prompts were answered how often, and by whom, those with most writers first? ($run: a prefix, or NULL for all; $limit: 100, $skip: 0)
SELECT c.prompt_id, any_value(c.prompt) AS prompt, c.system_prompt, count(*) AS texts,
    list(DISTINCT coalesce(arm.kind, c.role, 'greedy') ORDER BY coalesce(arm.kind, c.role, 'greedy')) AS writers,
    count(*) OVER () AS found, c.run_id
FROM completion c
LEFT JOIN arm ON arm.run_id = c.run_id AND arm.arm_id = c.arm_id
WHERE c.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
GROUP BY c.run_id, c.prompt_id, c.system_prompt
ORDER BY c.run_id, len(writers) DESC, c.system_prompt IS NOT NULL, c.prompt_id
LIMIT coalesce($limit::INTEGER, 100) OFFSET coalesce($skip::INTEGER, 0);
