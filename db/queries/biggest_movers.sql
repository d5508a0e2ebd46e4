-- Which vignettes' own answer moved most from the base to an arm? ($arm: a prefix; $foundation: NULL for all; $limit: 20)
SELECT a.vignette, a.foundation, b.own AS base_nats, a.own AS arm_nats, a.own - b.own AS moved, b.pick AS base_pick,
    a.pick AS arm_pick, shown.text, a.arm_id, a.run_id
FROM choice a
JOIN base_arm ON base_arm.run_id = a.run_id AND base_arm.eval_hash = a.eval_hash
JOIN choice b ON b.run_id = a.run_id AND b.arm_id = base_id AND b.vignette = a.vignette
LEFT JOIN (SELECT run_id, vignette, any_value(text) AS text FROM vignette GROUP BY ALL) shown
    ON shown.run_id = a.run_id AND shown.vignette = a.vignette
WHERE a.arm_id BETWEEN coalesce($arm, '') AND concat($arm, '~') AND ($foundation IS NULL OR a.foundation = $foundation) AND a.scorable AND b.scorable
ORDER BY abs(moved) DESC, a.arm_id, a.vignette
LIMIT coalesce($limit, 20);
