-- Gate 3's adapters: how each was trained, and whether the student healed or only undid the steering. Intervals are
-- paired-bootstrap 95%, from table effect.

CREATE OR REPLACE VIEW adapter_summary AS
WITH trained AS (
    SELECT run_id, adapter_id,
        count(*) AS steps,
        arg_min(nll, step) AS first_nll,
        arg_max(nll, step) AS last_nll,
        avg(over) AS over,
        median(grad_barrier / nullif(grad_nll, 0)) AS gradient_ratio,
        arg_max(update_norm, step) AS update_norm
    FROM heal_step GROUP BY ALL
), held_out AS (
    SELECT run_id, adapter_id,
        -- The loss of an epoch that is NULL was not measured; arg_max would go back to one that was.
        max_by(struct_pack(v := validation_nll), epoch).v AS validation_nll,
        min(validation_nll) AS best_validation_nll,
        max_by(struct_pack(v := validation_divergence), epoch).v AS validation_divergence,
        arg_max(sigma_max, epoch) AS sigma_max
    FROM heal_epoch GROUP BY ALL
), measured AS (
    SELECT run_id, adapter_id,
        any_value(value) FILTER (quantity = 'kl_hooked_baked') AS kl_hooked_baked,
        any_value(value) FILTER (quantity = 'kl_base_mean') AS kl_base,
        any_value(value) FILTER (quantity = 'cosine_teacher') AS cosine_teacher
    FROM adapter_figure GROUP BY ALL
)
SELECT a.run_id, a.adapter_id, a.round, a.role, a.rank, a.train_texts, a.validation_texts, a.train_tokens, a.tau,
    steps, first_nll, last_nll, CASE WHEN a.tau IS NOT NULL THEN over END AS over,
    CASE WHEN a.tau IS NOT NULL THEN gradient_ratio END AS gradient_ratio, update_norm, validation_nll, best_validation_nll,
    validation_divergence, sigma_max, kl_hooked_baked, kl_base, cosine_teacher, a.history, a.config, a.artifact
FROM adapter a
LEFT JOIN trained ON trained.run_id = a.run_id AND trained.adapter_id = a.adapter_id
LEFT JOIN held_out ON held_out.run_id = a.run_id AND held_out.adapter_id = a.adapter_id
LEFT JOIN measured ON measured.run_id = a.run_id AND measured.adapter_id = a.adapter_id;
COMMENT ON VIEW adapter_summary IS 'One row per adapter: what it was trained on, how that went, and what was measured of it.';
COMMENT ON COLUMN adapter_summary.round IS 'Counts the rounds of a loop, from 0.';
COMMENT ON COLUMN adapter_summary.role IS 'Why it was trained: healed, plain, a control, one pole, or weights.';
COMMENT ON COLUMN adapter_summary.train_texts IS 'Texts it was trained on.';
COMMENT ON COLUMN adapter_summary.validation_texts IS 'Texts that were held out.';
COMMENT ON COLUMN adapter_summary.train_tokens IS 'Trained completion tokens per epoch (tokens).';
COMMENT ON COLUMN adapter_summary.tau IS 'The barrier''s threshold (nats); NULL without a barrier.';
COMMENT ON COLUMN adapter_summary.steps IS 'Optimiser steps; NULL where it was made of others.';
COMMENT ON COLUMN adapter_summary.first_nll IS 'NLL of the first step (nats per token).';
COMMENT ON COLUMN adapter_summary.last_nll IS 'NLL of the last step (nats per token).';
COMMENT ON COLUMN adapter_summary.over IS 'Share of all trained sequences whose divergence exceeds tau (fraction); NULL without a barrier.';
COMMENT ON COLUMN adapter_summary.gradient_ratio IS 'Median over steps of the barrier''s gradient norm over the objective''s (ratio); NULL without a barrier, or where the two were never taken apart.';
COMMENT ON COLUMN adapter_summary.update_norm IS 'Frobenius norm of the whole update.';
COMMENT ON COLUMN adapter_summary.validation_nll IS 'NLL of the held-out texts after the last epoch (nats per token).';
COMMENT ON COLUMN adapter_summary.best_validation_nll IS 'Its lowest over epochs, before training included (nats per token).';
COMMENT ON COLUMN adapter_summary.validation_divergence IS 'Divergence on the held-out texts after the last epoch (nats).';
COMMENT ON COLUMN adapter_summary.sigma_max IS 'Mean over Linears of the update''s largest singular value.';
COMMENT ON COLUMN adapter_summary.kl_hooked_baked IS 'Mean KL between the hooked and the baked student (nats per token).';
COMMENT ON COLUMN adapter_summary.kl_base IS 'Mean KL from the student to the base on held-out texts (nats per token).';
COMMENT ON COLUMN adapter_summary.cosine_teacher IS 'Cosine of the student''s own shift with the direction it was taught by.';

CREATE OR REPLACE VIEW heal_or_undo AS
WITH healed AS (
    SELECT arm.run_id, arm.arm_id, arm.adapter_id, adapter.round
    FROM arm
    LEFT JOIN adapter ON adapter.run_id = arm.run_id AND adapter.adapter_id = arm.adapter_id
    WHERE arm.kind = 'healed'
), measured AS (
    SELECT run_id, arm_id,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = 'steered_separation') AS steered_separation,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = 'steered_coherence') AS steered_coherence,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = 'separation') AS separation,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = 'coherence') AS coherence,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = 'retain') AS retain,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = 'recover') AS recover,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = 'front_gain') AS front_gain,
        any_value(struct_pack(v := value, low, high)) FILTER (quantity = 'excess') AS excess
    FROM effect GROUP BY ALL
), said AS (
    SELECT run_id,
        any_value(status) FILTER (kind = 'label') AS label,
        any_value(status) FILTER (kind = 'gate') AS outcome
    FROM verdict GROUP BY ALL
)
SELECT healed.run_id, run.method, run.trait, run.model, healed.round, said.label, said.outcome,
    steered_separation.v AS steered_separation,
    steered_separation.low AS steered_separation_low,
    steered_separation.high AS steered_separation_high,
    steered_coherence.v AS steered_coherence,
    steered_coherence.low AS steered_coherence_low,
    steered_coherence.high AS steered_coherence_high,
    separation.v AS separation, separation.low AS separation_low, separation.high AS separation_high,
    coherence.v AS coherence, coherence.low AS coherence_low, coherence.high AS coherence_high,
    retain.v AS retain, retain.low AS retain_low, retain.high AS retain_high,
    recover.v AS recover, recover.low AS recover_low, recover.high AS recover_high,
    front_gain.v AS front_gain, front_gain.low AS front_gain_low, front_gain.high AS front_gain_high,
    excess.v AS excess, excess.low AS excess_low, excess.high AS excess_high,
    made.gradient_ratio, made.over, healed.arm_id, healed.adapter_id
FROM healed
JOIN run ON run.run_id = healed.run_id
LEFT JOIN measured ON measured.run_id = healed.run_id AND measured.arm_id = healed.arm_id
LEFT JOIN said ON said.run_id = healed.run_id
LEFT JOIN adapter_summary made ON made.run_id = healed.run_id AND made.adapter_id = healed.adapter_id;
COMMENT ON VIEW heal_or_undo IS 'One row per healed student: what it kept of the steering''s shift, what came back of the coherence, and the label.';
COMMENT ON COLUMN heal_or_undo.round IS 'Counts the rounds of a loop, from 0.';
COMMENT ON COLUMN heal_or_undo.label IS 'HEALED, UNDONE, COPIED, NO-OP, OVERSHOT, NON-SPECIFIC or UNCLEAR.';
COMMENT ON COLUMN heal_or_undo.outcome IS 'What the gate said: PASS, FAIL or INCONCLUSIVE.';
COMMENT ON COLUMN heal_or_undo.steered_separation IS 'Shift of the target in the intended direction by the steering that wrote the texts (nats); with _low and _high the 95% interval, and so for all below.';
COMMENT ON COLUMN heal_or_undo.steered_coherence IS 'Coherence of that steered model relative to the base (fraction).';
COMMENT ON COLUMN heal_or_undo.separation IS 'Shift of the target in the intended direction by the student (nats).';
COMMENT ON COLUMN heal_or_undo.coherence IS 'Coherence of the student relative to the base (fraction).';
COMMENT ON COLUMN heal_or_undo.retain IS 'separation over steered_separation (fraction); NULL where steering hardly moved anything or either is broken.';
COMMENT ON COLUMN heal_or_undo.recover IS 'Share of the coherence lost by steering that came back (fraction); NULL where steering lost none.';
COMMENT ON COLUMN heal_or_undo.front_gain IS 'coherence less what raw steering has at the same separation (fraction).';
COMMENT ON COLUMN heal_or_undo.excess IS 'Shift since the round''s start less the largest of any control adapter (nats).';
COMMENT ON COLUMN heal_or_undo.gradient_ratio IS 'Median over steps of the barrier''s gradient norm over the objective''s (ratio).';
COMMENT ON COLUMN heal_or_undo.over IS 'Share of all trained sequences whose divergence exceeds tau (fraction).';
