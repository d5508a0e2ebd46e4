-- Which settings of training keep most coherence beyond raw steering? ($run: a prefix, or NULL for all)
WITH measured AS (
    SELECT run_id, arm_id,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = 'd_target') AS d_target,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = 'coherence') AS coherence,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = 'front_gain') AS front_gain,
        any_value(value) FILTER (quantity = 'retain') AS retain
    FROM effect WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') GROUP BY ALL
)
SELECT made.config ->> '$.divergence' AS reg, made.config ->> '$.aggregate' AS agg,
    made.config ->> '$.reference' AS ref, (made.config ->> '$.lam')::DOUBLE AS lam, made.config ->> '$.tau' AS tau,
    made.tau AS tau_nats, (made.config ->> '$.weight_decay')::DOUBLE AS wd,
    (made.config ->> '$.spectral')::DOUBLE AS spectral,
    d_target.v AS d_target, d_target.low AS d_target_low, d_target.high AS d_target_high,
    coherence.v AS coherence, coherence.v >= (run.thresholds ->> '$.coherence')::DOUBLE AS coherent,
    front_gain.v AS front_gain, front_gain.low AS front_gain_low, front_gain.high AS front_gain_high, retain, last_nll,
    made.over, made.over = 0 AS never_fires, arm.adapter_id, arm.arm_id, arm.run_id
FROM arm
JOIN run ON run.run_id = arm.run_id
JOIN adapter_summary made ON made.run_id = arm.run_id AND made.adapter_id = arm.adapter_id
LEFT JOIN measured ON measured.run_id = arm.run_id AND measured.arm_id = arm.arm_id
WHERE arm.kind = 'swept' AND arm.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY arm.run_id, coherent DESC NULLS LAST, front_gain DESC NULLS LAST, arm.adapter_id;
