-- Which method moves the trait most, chosen on one half and read on the other? ($run: a prefix, or NULL for all)
WITH figure AS (
    SELECT run_id, point_id,
        any_value(struct_pack(v := value, low, high)) FILTER (part = 'test' AND quantity = 'd_target') AS d_target,
        any_value(struct_pack(v := value, low, high)) FILTER (part = 'test' AND quantity = 'd_auth') AS d_auth,
        any_value(struct_pack(v := value, low, high)) FILTER (part = 'test' AND quantity = 'coherence') AS coherence,
        any_value(value) FILTER (part = 'test' AND quantity = 'coh_cost') AS coh_cost,
        any_value(value) FILTER (part = 'test' AND quantity = 'gated_selectivity') AS gated_selectivity,
        any_value(value) FILTER (part = 'test' AND quantity = 'si_flips') AS si_flips,
        any_value(value > 0) FILTER (part = 'test' AND quantity = 'surgical_excess') AS surgical,
        any_value(value) FILTER (part = 'test' AND quantity = 'separation') AS separation,
        any_value(value) FILTER (part = 'all' AND quantity = 'front_probability') AS on_front,
        any_value(p_null) FILTER (part = 'all' AND quantity = 'separation') AS p_null
    FROM point_effect WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') GROUP BY ALL
)
SELECT c.method, c.standing, p.dose, p.scale, p.strength, d_target.v AS d_target, d_target.low AS d_target_low,
    d_target.high AS d_target_high, d_auth.v AS d_auth, coherence.v AS coherence, coherence.low AS coherence_low,
    coherence.high AS coherence_high, coh_cost, gated_selectivity, si_flips, surgical, on_front, p_null, c.hypervolume,
    c.detail, c.distribution, c.run_id
FROM contender c
-- The prompt has no dose: its only point is the one that is read.
LEFT JOIN point p
    ON p.run_id = c.run_id AND p.method = c.method AND p.state = 'full' AND (p.dose = c.dose OR c.method = 'prompt')
LEFT JOIN figure ON figure.run_id = c.run_id AND figure.point_id = p.point_id
WHERE c.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY c.run_id, c.standing <> 'compared', separation DESC NULLS LAST, c.method;
