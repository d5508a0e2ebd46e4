-- Where does a method steer best? ($run: a prefix, or NULL for all)
WITH figure AS (
    SELECT run_id, arm_id,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = 'd_target') AS d_target,
        any_value(value) FILTER (quantity = 'd_auth') AS d_auth,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = 'coherence') AS coherence
    FROM effect WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') GROUP BY ALL
), quality AS (
    SELECT run_id, direction_id, avg(relative_norm) AS relative_norm, min(half_split_cosine) AS half_split_cosine
    FROM direction_layer WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') GROUP BY ALL
)
SELECT b.first_block, b.last_block, b.last_block - b.first_block + 1 AS width, b.chosen, b.dose, b.scale, b.reached,
    b.strength, f.d_target.v AS d_target, f.d_target.low AS d_target_low, f.d_target.high AS d_target_high, f.d_auth,
    f.coherence.v AS coherence, t.d_target.v AS test_d_target, t.d_target.low AS test_d_target_low,
    t.d_target.high AS test_d_target_high, t.coherence.v AS test_coherence, relative_norm, half_split_cosine, run.method,
    b.run_id
FROM band b
JOIN run ON run.run_id = b.run_id
LEFT JOIN figure f ON f.run_id = b.run_id AND f.arm_id = b.arm_id
LEFT JOIN figure t ON t.run_id = b.run_id AND t.arm_id = b.test_arm_id
LEFT JOIN quality ON quality.run_id = b.run_id AND quality.direction_id = b.direction_id
WHERE b.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY b.run_id, b.first_block, width;
