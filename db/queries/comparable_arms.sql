-- Which arms of a run can be compared with others, and what did each score? ($run: a prefix, or NULL for all; $limit: 500)
-- Arms share an eval_hash where vignettes, instrument and its settings, model, dtype and tokenizer are the same.
WITH place AS (
    SELECT run_id, unnest([steered_arm, healed_arm, plain_arm]) AS arm_id, round FROM round
    WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~')
), measured AS (
    SELECT run_id, arm_id,
        any_value(struct_pack(v := value, low, high, p_null)) FILTER (quantity = 'd_target') AS d_target,
        any_value(value) FILTER (quantity = 'd_auth') AS d_auth,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = 'coherence') AS coherence
    FROM effect WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') GROUP BY ALL
)
SELECT arm.arm_id, arm.kind, place.round, arm.method, arm.dose, d_target.v AS d_target, d_target.low AS d_target_low,
    d_target.high AS d_target_high, d_auth, coherence.v AS coherence, coherence.low AS coherence_low,
    coherence.high AS coherence_high, d_target.p_null AS p_null,
    CASE WHEN coherence.v >= 0.95 AND isfinite(coherence.v) THEN 'coherent'
        WHEN coherence.v >= 0.85 AND isfinite(coherence.v) THEN 'degraded'
        WHEN coherence.v IS NOT NULL THEN 'broken' END AS band,
    CASE WHEN band <> 'broken' AND abs(d_target.v) >= 0.05 THEN abs(coherence.v - 1) / abs(d_target.v) END AS coh_cost,
    arm.eval_hash, arm.run_id
FROM arm
LEFT JOIN place ON place.run_id = arm.run_id AND place.arm_id = arm.arm_id
LEFT JOIN measured ON measured.run_id = arm.run_id AND measured.arm_id = arm.arm_id
WHERE arm.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY arm.run_id, place.round NULLS FIRST, arm.kind, arm.dose, arm.arm_id
LIMIT coalesce($limit::INTEGER, 500);
