-- Trait against coherence cost, one row per arm that is not a base.

CREATE OR REPLACE VIEW pareto AS
WITH measured AS (
    SELECT run_id, arm_id, any_value(value) FILTER (quantity = 'target_nats') AS target_nats,
        any_value(value) FILTER (quantity = 'd_target') AS d_target,
        any_value(low) FILTER (quantity = 'd_target') AS d_target_low,
        any_value(high) FILTER (quantity = 'd_target') AS d_target_high,
        any_value(p_null) FILTER (quantity = 'd_target') AS p_null,
        any_value(low) FILTER (quantity = 'd_auth') AS d_auth_low,
        any_value(high) FILTER (quantity = 'd_auth') AS d_auth_high,
        any_value(low) FILTER (quantity = 'coherence') AS coherence_low,
        any_value(high) FILTER (quantity = 'coherence') AS coherence_high
    FROM effect GROUP BY ALL
), registered AS (
    SELECT run_id, any_value(trait) AS trait, any_value(model) AS model FROM run GROUP BY ALL
), placed AS (
    SELECT t.run_id, t.arm_id, t.method, registered.trait, t.kind, t.dose, t.strength, target_nats, d_target, d_target_low,
        d_target_high, t.auth_nats, delta.d_nats AS d_auth, d_auth_low, d_auth_high, t.coherence, coherence_low,
        coherence_high, t.coherence - 1 AS d_coherence, p_null, t.frac_unscorable, registered.model, t.eval_hash,
        -- The floor comes before any ratio: a collapsed model would otherwise have the best one.
        CASE WHEN t.coherence >= 0.95 AND isfinite(t.coherence) THEN 'coherent'
            WHEN t.coherence >= 0.85 AND isfinite(t.coherence) THEN 'degraded' ELSE 'broken' END AS band
    FROM trait t
    LEFT JOIN delta ON delta.run_id = t.run_id AND delta.arm_id = t.arm_id AND delta.foundation = 'Authority'
    LEFT JOIN measured ON measured.run_id = t.run_id AND measured.arm_id = t.arm_id
    LEFT JOIN registered ON registered.run_id = t.run_id
    WHERE t.kind <> 'base'
)
SELECT run_id, method, trait, kind, dose, strength, target_nats, d_target, d_target_low, d_target_high, auth_nats, d_auth,
    d_auth_low, d_auth_high, coherence, coherence_low, coherence_high, d_coherence, band,
    CASE WHEN band <> 'broken' AND abs(d_target) >= 0.05 THEN abs(d_coherence) / abs(d_target) END AS coh_cost,
    p_null, frac_unscorable, model, arm_id, eval_hash
FROM placed;
COMMENT ON VIEW pareto IS 'Trait against coherence cost: one row per arm but the base. Intervals are paired-bootstrap 95%.';
COMMENT ON COLUMN pareto.target_nats IS 'Mean log p[target] over the target''s own vignettes (nats); from table effect.';
COMMENT ON COLUMN pareto.d_target IS 'Its paired change from the base (nats); from table effect.';
COMMENT ON COLUMN pareto.auth_nats IS 'Mean log p[Authority] over Authority vignettes (nats).';
COMMENT ON COLUMN pareto.d_auth IS 'Its paired change from the base (nats).';
COMMENT ON COLUMN pareto.coherence IS 'Mass on the seven answers over the base''s (fraction; 1 is the base).';
COMMENT ON COLUMN pareto.d_coherence IS 'coherence less 1 (fraction).';
COMMENT ON COLUMN pareto.band IS 'coherent (at least 0.95), degraded (at least 0.85) or broken.';
COMMENT ON COLUMN pareto.coh_cost IS 'abs(d_coherence) / abs(d_target) (per nat); NULL when broken or when d_target is under 0.05 nats.';
COMMENT ON COLUMN pareto.p_null IS 'Share of null directions at the same dose that move the target at least as much (fraction).';
