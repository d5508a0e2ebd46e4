-- What was written under one arm, or with its direction at its very strength? ($run, $arm whole ids; $direction, $strength of the arm; $limit: 12)
SELECT c.prompt_id, c.prompt, c.text, c.tokens, c.ended, c.perplexity, list_aggregate(c.token_kl, 'mean') AS kl_mean,
    coalesce(c.role, 'greedy') AS role, c.dose, c.completion_id, c.run_id
FROM completion c
WHERE (c.run_id = $run AND c.arm_id = $arm)
    OR (c.direction_id = $direction AND abs(c.strength - $strength) <= 1e-9 * abs($strength))
ORDER BY c.run_id = $run DESC, c.prompt_id, c.completion_id
LIMIT coalesce($limit, 12);
