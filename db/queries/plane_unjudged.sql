-- Where do the arms of a run lie that has answers but no verdict yet? ($run: a whole run id; $gain: separation or d_auth) No intervals: those come with the verdict.
WITH registered AS (
    SELECT DISTINCT ON (run_id) run_id, gate, model, trait, method, seed, registered_at,
        CASE WHEN json_valid(spec) THEN spec::JSON ELSE '{}'::JSON END AS spec
    FROM run WHERE run_id = $run
), shifted AS (
    SELECT delta.run_id, delta.arm_id,
        any_value(d_nats) FILTER (foundation = (spec ->> '$.target')) * any_value((spec ->> '$.sign')::INTEGER)
            AS separation,
        any_value(d_nats) FILTER (foundation = 'Authority') AS d_auth
    FROM delta
    JOIN registered ON registered.run_id = delta.run_id
    WHERE delta.run_id = $run
    GROUP BY ALL
)
SELECT t.kind, run.method, t.dose, CASE WHEN $gain = 'd_auth' THEN d_auth ELSE separation END AS gain,
    NULL::DOUBLE AS gain_low, NULL::DOUBLE AS gain_high, t.coherence AS cost, NULL::DOUBLE AS cost_low,
    NULL::DOUBLE AS cost_high, separation, t.coherence, NULL::DOUBLE AS coherence_low, NULL::DOUBLE AS coherence_high,
    NULL::DOUBLE AS p_null, NULL::DOUBLE AS front_probability, false AS operating, t.strength, NULL::BIGINT AS round,
    NULL::VARCHAR AS label, NULL::DOUBLE AS from_separation, NULL::DOUBLE AS from_coherence, run.trait,
    spec ->> '$.target' AS target, coalesce((spec ->> '$.sign')::INTEGER, 1) AS sign, run.model, run.seed, run.gate,
    coalesce(json_array_length(spec, '$.history'), 0) > 0 AS from_student, t.direction_id, arm.adapter_id, t.eval_hash,
    run.registered_at, t.arm_id, t.run_id
FROM trait t
JOIN registered run ON run.run_id = t.run_id
JOIN arm ON arm.run_id = t.run_id AND arm.arm_id = t.arm_id
LEFT JOIN shifted ON shifted.run_id = t.run_id AND shifted.arm_id = t.arm_id
WHERE t.run_id = $run AND t.kind <> 'base'
ORDER BY t.kind, t.direction_id, t.dose, t.arm_id;
