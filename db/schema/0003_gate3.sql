-- Gate 3: adapters and their training.

ALTER TABLE arm ADD COLUMN adapter_id VARCHAR;
COMMENT ON COLUMN arm.adapter_id IS 'Newest adapter that is baked in; NULL for the base model.';
COMMENT ON COLUMN arm.kind IS 'base, steered, random, shuffled, prompt; students: previous, healed, plain, control-unsteered, control-random, control-persona, weights, swept.';
ALTER TABLE completion ADD COLUMN system_prompt VARCHAR;
COMMENT ON COLUMN completion.system_prompt IS 'System prompt it was written under; NULL where there was none.';
COMMENT ON COLUMN completion.role IS 'greedy, base, probe, collected, random, control-unsteered, control-random, control-persona or pole; NULL in rows older than gate 2.';

CREATE TABLE adapter (
    run_id           VARCHAR,
    unit_id          VARCHAR,
    adapter_id       VARCHAR,
    round            BIGINT,
    role             VARCHAR,
    artifact         VARCHAR,
    history          VARCHAR[],
    fingerprint      VARCHAR,
    config           VARCHAR,
    rank             BIGINT,
    alpha            DOUBLE,
    targets          VARCHAR[],
    first_block      BIGINT,
    last_block       BIGINT,
    train_texts      BIGINT,
    validation_texts BIGINT,
    train_tokens     BIGINT,
    tau              DOUBLE
);
COMMENT ON TABLE adapter IS 'One trained LoRA.';
COMMENT ON COLUMN adapter.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN adapter.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN adapter.adapter_id IS 'Hash of what it was trained on and how.';
COMMENT ON COLUMN adapter.round IS 'Counts the rounds of a loop, from 0.';
COMMENT ON COLUMN adapter.role IS 'healed, plain, control-unsteered, control-random, control-persona, pole-positive, pole-negative, weights, which is made of those two, or swept: one point of a sweep.';
COMMENT ON COLUMN adapter.artifact IS 'sha256 of the safetensors file with PATH.lora_A [rank in] and PATH.lora_B [out rank] per Linear.';
COMMENT ON COLUMN adapter.history IS 'Adapters that were baked in while it was trained, in order.';
COMMENT ON COLUMN adapter.fingerprint IS 'Of the base model.';
COMMENT ON COLUMN adapter.config IS 'HealSpec as canonical JSON.';
COMMENT ON COLUMN adapter.rank IS 'Rank of the update.';
COMMENT ON COLUMN adapter.alpha IS 'The update of a Linear''s weight is alpha / rank * B A.';
COMMENT ON COLUMN adapter.targets IS 'Names of the Linears inside a block.';
COMMENT ON COLUMN adapter.first_block IS 'First trained block.';
COMMENT ON COLUMN adapter.last_block IS 'Last trained block.';
COMMENT ON COLUMN adapter.train_texts IS 'Texts it was trained on.';
COMMENT ON COLUMN adapter.validation_texts IS 'Texts that were held out.';
COMMENT ON COLUMN adapter.train_tokens IS 'Trained completion tokens per epoch (tokens).';
COMMENT ON COLUMN adapter.tau IS 'The barrier''s threshold (nats); NULL without a barrier.';

CREATE TABLE heal_text (
    run_id        VARCHAR,
    unit_id       VARCHAR,
    adapter_id    VARCHAR,
    completion_id VARCHAR,
    part          VARCHAR
);
COMMENT ON TABLE heal_text IS 'One text an adapter was trained or validated on.';
COMMENT ON COLUMN heal_text.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN heal_text.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN heal_text.adapter_id IS 'Adapter that was trained.';
COMMENT ON COLUMN heal_text.completion_id IS 'Text it was trained or validated on.';
COMMENT ON COLUMN heal_text.part IS 'train or validation.';

CREATE TABLE heal_step (
    run_id        VARCHAR,
    unit_id       VARCHAR,
    adapter_id    VARCHAR,
    step          BIGINT,
    epoch         BIGINT,
    nll           DOUBLE,
    d_mean        DOUBLE,
    d_rmse        DOUBLE,
    d_p95         DOUBLE,
    d_max         DOUBLE,
    over          DOUBLE,
    barrier       DOUBLE,
    grad_nll      DOUBLE,
    grad_barrier  DOUBLE,
    update_norm   DOUBLE,
    learning_rate DOUBLE
);
COMMENT ON TABLE heal_step IS 'One optimiser step of one adapter; divergences are means over the step''s sequences of their aggregates (nats).';
COMMENT ON COLUMN heal_step.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN heal_step.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN heal_step.adapter_id IS 'Adapter that was trained.';
COMMENT ON COLUMN heal_step.step IS 'Optimiser step, from 1.';
COMMENT ON COLUMN heal_step.epoch IS 'Epoch, from 1.';
COMMENT ON COLUMN heal_step.nll IS 'Mean over sequences of their mean NLL per completion token (nats per token).';
COMMENT ON COLUMN heal_step.d_mean IS 'Divergence from the reference, mean over positions (nats).';
COMMENT ON COLUMN heal_step.d_rmse IS 'The same, root mean square (nats).';
COMMENT ON COLUMN heal_step.d_p95 IS 'The same, 95th percentile (nats).';
COMMENT ON COLUMN heal_step.d_max IS 'The same, largest (nats).';
COMMENT ON COLUMN heal_step.over IS 'Share of the step''s sequences whose divergence exceeds tau (fraction).';
COMMENT ON COLUMN heal_step.barrier IS 'lambda * relu(D - tau), mean over sequences (nats).';
COMMENT ON COLUMN heal_step.grad_nll IS 'Norm of the objective''s gradient over the adapter''s parameters, before clipping; NULL where it was taken together with the barrier''s.';
COMMENT ON COLUMN heal_step.grad_barrier IS 'The same of the barrier; NULL at steps where the two were not taken apart.';
COMMENT ON COLUMN heal_step.update_norm IS 'Frobenius norm of the whole update after the step.';
COMMENT ON COLUMN heal_step.learning_rate IS 'Learning rate of the step.';

CREATE TABLE heal_epoch (
    run_id                VARCHAR,
    unit_id               VARCHAR,
    adapter_id            VARCHAR,
    epoch                 BIGINT,
    train_nll             DOUBLE,
    validation_nll        DOUBLE,
    validation_divergence DOUBLE,
    sigma_max             DOUBLE
);
COMMENT ON TABLE heal_epoch IS 'Before training (epoch 0) and after each epoch.';
COMMENT ON COLUMN heal_epoch.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN heal_epoch.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN heal_epoch.adapter_id IS 'Adapter that was trained.';
COMMENT ON COLUMN heal_epoch.epoch IS '0 before training, then after each epoch.';
COMMENT ON COLUMN heal_epoch.train_nll IS 'Mean over the epoch''s steps; NULL before training (nats per token).';
COMMENT ON COLUMN heal_epoch.validation_nll IS 'Mean over held-out sequences (nats per token).';
COMMENT ON COLUMN heal_epoch.validation_divergence IS 'Mean over held-out sequences of the chosen divergence and aggregate (nats).';
COMMENT ON COLUMN heal_epoch.sigma_max IS 'Mean over Linears of the update''s largest singular value.';

CREATE TABLE adapter_figure (
    run_id     VARCHAR,
    unit_id    VARCHAR,
    adapter_id VARCHAR,
    quantity   VARCHAR,
    value      DOUBLE,
    unit       VARCHAR
);
COMMENT ON TABLE adapter_figure IS 'One thing measured of an adapter, beside its training and its scored arm.';
COMMENT ON COLUMN adapter_figure.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN adapter_figure.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN adapter_figure.adapter_id IS 'Adapter that was measured.';
COMMENT ON COLUMN adapter_figure.quantity IS 'For example ''kl_hooked_baked'', ''kl_base'', ''kl_previous'', ''cosine_teacher'', ''overfit_first'', ''overfit_last''.';
COMMENT ON COLUMN adapter_figure.value IS 'Measured value, in its unit.';
COMMENT ON COLUMN adapter_figure.unit IS 'Unit of the value.';
