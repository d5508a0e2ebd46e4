SELECT format('arm {} of run {} claims a change ({}) but no base arm has its eval hash {}', arm.arm_id, arm.run_id,
    any_value(quantity), arm.eval_hash) AS problem
FROM effect JOIN arm USING (run_id, arm_id) ANTI JOIN base_arm USING (run_id, eval_hash)
WHERE starts_with(quantity, 'd_')
GROUP BY arm.arm_id, arm.run_id, arm.eval_hash ORDER BY ALL;
