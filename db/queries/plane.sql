-- Where does every arm lie: what does it buy, and what does it cost? ($run: a prefix, or NULL for all; $gain, $cost: quantities of table effect, or NULL for separation and coherence)
-- An arm that a later gate took over is one arm: it is listed once, under the run that scored it.
WITH figures AS (
    SELECT run_id, arm_id,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = coalesce($gain, 'separation')) AS gain,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = coalesce($cost, 'coherence')) AS cost,
        any_value(value) FILTER (quantity = 'separation') AS separation,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = 'coherence') AS coherence,
        any_value(p_null) FILTER (quantity = 'd_target') AS p_null,
        any_value(value) FILTER (quantity = 'front_probability') AS front_probability,
        any_value(value) FILTER (quantity = 'steered_separation') AS from_separation,
        any_value(value) FILTER (quantity = 'steered_coherence') AS from_coherence,
        bool_or(quantity = 'operating') AS operating
    FROM effect WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') GROUP BY ALL
), registered AS (
    SELECT DISTINCT ON (run_id) run_id, gate, model, trait, method, seed, registered_at,
        CASE WHEN json_valid(spec) THEN spec::JSON ELSE '{}'::JSON END AS spec
    FROM run
), adapters AS (
    SELECT run_id, adapter_id, any_value(round) AS round FROM adapter GROUP BY ALL
), placed AS (
    SELECT arm.run_id, run.gate, run.model, run.trait, run.method AS under_test, run.seed, run.spec ->> '$.target' AS target,
        coalesce((run.spec ->> '$.sign')::INTEGER, 1) AS sign,
        coalesce(json_array_length(run.spec, '$.history'), 0) > 0 AS from_student,
        arm.kind, arm.dose, arm.strength, adapters.round, figures.* EXCLUDE (run_id, arm_id),
        run.registered_at, arm.direction_id, arm.adapter_id, arm.eval_hash, arm.arm_id,
        row_number() OVER (
            PARTITION BY arm.eval_hash, arm.kind, arm.direction_id, arm.strength, arm.dose, arm.system_prompt,
                arm.adapter_id
            ORDER BY run.registered_at, arm.run_id, arm.arm_id
        ) AS copy
    FROM figures
    JOIN arm ON arm.run_id = figures.run_id AND arm.arm_id = figures.arm_id
    JOIN registered run ON run.run_id = arm.run_id
    LEFT JOIN adapters ON adapters.run_id = arm.run_id AND adapters.adapter_id = arm.adapter_id
    WHERE arm.kind <> 'base'
), healed AS (
    SELECT adapter_id, any_value(label) AS label FROM heal_or_undo GROUP BY ALL
)
SELECT kind, under_test AS method, dose, gain.v AS gain, gain.low AS gain_low, gain.high AS gain_high, cost.v AS cost,
    cost.low AS cost_low, cost.high AS cost_high, separation, coherence.v AS coherence, coherence.low AS coherence_low,
    coherence.high AS coherence_high, p_null, front_probability, operating, strength, round, healed.label, from_separation,
    from_coherence, trait, target, sign, model, seed, gate, from_student, direction_id, placed.adapter_id, eval_hash,
    registered_at, arm_id, run_id
FROM placed
LEFT JOIN healed ON healed.adapter_id = placed.adapter_id AND placed.kind = 'healed'
WHERE copy = 1
ORDER BY registered_at, run_id, kind, direction_id, dose, arm_id;
