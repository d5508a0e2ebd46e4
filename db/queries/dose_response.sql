-- How does each method respond to the dose? ($run: a prefix, $method: NULL for all)
WITH figure AS (
    SELECT run_id, point_id, part,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = 'd_target') AS d_target,
        any_value(value) FILTER (quantity = 'd_auth') AS d_auth,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = 'coherence') AS coherence,
        any_value(value) FILTER (quantity = 'gated_selectivity') AS gated_selectivity,
        any_value(value) FILTER (quantity = 'front_probability') AS on_front,
        any_value(p_null) FILTER (quantity = 'separation') AS p_null
    FROM point_effect
    WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') AND part IN ('all', 'screen') GROUP BY ALL
)
SELECT p.method, p.dose, p.scale, p.reached, p.strength, p.state, part, d_target.v AS d_target,
    d_target.low AS d_target_low, d_target.high AS d_target_high, d_auth, coherence.v AS coherence,
    coherence.low AS coherence_low, coherence.high AS coherence_high, gated_selectivity, on_front, p_null, p.run_id
FROM point p
LEFT JOIN figure ON figure.run_id = p.run_id AND figure.point_id = p.point_id
    AND part = CASE WHEN p.state IN ('full', 'failed') THEN 'all' ELSE 'screen' END
WHERE p.run_id BETWEEN coalesce($run, '') AND concat($run, '~') AND ($method IS NULL OR p.method = $method)
ORDER BY p.run_id, p.method, p.dose;
