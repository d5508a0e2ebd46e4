-- Which arms buy the most trait for the least coherence? ($method, $trait, $run (a prefix): NULL for all)
SELECT * EXCLUDE (eval_hash) FROM pareto
WHERE ($method IS NULL OR method = $method) AND ($trait IS NULL OR trait = $trait)
    AND run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY coh_cost, abs(d_target) DESC, arm_id;
