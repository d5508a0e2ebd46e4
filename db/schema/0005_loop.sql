-- The loop: one row per round.

CREATE TABLE round (
    run_id                     VARCHAR,
    unit_id                    VARCHAR,
    round                      BIGINT,
    gate1_run                  VARCHAR,
    gate2_run                  VARCHAR,
    gate3_run                  VARCHAR,
    direction_id               VARCHAR,
    adapter_id                 VARCHAR,
    steered_arm                VARCHAR,
    healed_arm                 VARCHAR,
    plain_arm                  VARCHAR,
    label                      VARCHAR,
    made                       BIGINT,
    kept                       BIGINT,
    chosen_dose                DOUBLE,
    lowest_dose                DOUBLE,
    steered_d_target           DOUBLE,
    steered_d_target_previous  DOUBLE,
    steered_coherence          DOUBLE,
    steered_coherence_previous DOUBLE,
    d_target                   DOUBLE,
    d_target_low               DOUBLE,
    d_target_high              DOUBLE,
    d_target_previous          DOUBLE,
    d_target_previous_low      DOUBLE,
    d_target_previous_high     DOUBLE,
    coherence                  DOUBLE,
    coherence_low              DOUBLE,
    coherence_high             DOUBLE,
    coherence_previous         DOUBLE,
    coherence_previous_low     DOUBLE,
    coherence_previous_high    DOUBLE,
    target_nats                DOUBLE,
    auth_nats                  DOUBLE,
    care_nats                  DOUBLE,
    d_auth                     DOUBLE,
    d_care                     DOUBLE,
    base_nats                  DOUBLE,
    kl_base                    DOUBLE,
    kl_previous                DOUBLE,
    kl_excess                  DOUBLE,
    direction_norm             DOUBLE,
    cosine_first               DOUBLE,
    cosine_last                DOUBLE,
    cosine_teacher             DOUBLE,
    reference                  VARCHAR,
    tau                        DOUBLE,
    over                       DOUBLE,
    start_divergence           DOUBLE,
    kept_distinct              DOUBLE,
    base_distinct              DOUBLE,
    kept_perplexity            DOUBLE,
    best_round                 BIGINT,
    stop                       VARCHAR,
    stop_why                   VARCHAR,
    seconds                    DOUBLE
);
COMMENT ON TABLE round IS 'One round of a loop: its texts, its student, and where that stands beside the base and the student before.';
COMMENT ON COLUMN round.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN round.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN round.round IS 'Counts from 0.';
COMMENT ON COLUMN round.gate1_run IS 'Run of gate 1 on the student the round started from.';
COMMENT ON COLUMN round.gate2_run IS 'Run of gate 2 that collected its texts.';
COMMENT ON COLUMN round.gate3_run IS 'Run of gate 3 that trained on them; NULL where they were too few or training broke.';
COMMENT ON COLUMN round.direction_id IS 'Direction that steered, in gate 1''s run.';
COMMENT ON COLUMN round.adapter_id IS 'Healed adapter; NULL without one.';
COMMENT ON COLUMN round.steered_arm IS 'Arm of this run: the student at the round''s start, steered at the dose of the kept texts.';
COMMENT ON COLUMN round.healed_arm IS 'Arm of this run: the student with the healed adapter.';
COMMENT ON COLUMN round.plain_arm IS 'Arm of this run: the student with the adapter trained without a constraint.';
COMMENT ON COLUMN round.label IS 'What gate 3 said, for example HEALED; empty without a student.';
COMMENT ON COLUMN round.made IS 'Steered texts that were written (texts).';
COMMENT ON COLUMN round.kept IS 'Texts that could be trained on (texts).';
COMMENT ON COLUMN round.chosen_dose IS 'Dose the controller chose (multiples of the calibrated strength); NULL where texts survived at none.';
COMMENT ON COLUMN round.lowest_dose IS 'Weakest dose that was tried (multiples of the calibrated strength).';
COMMENT ON COLUMN round.steered_d_target IS 'Shift of the target''s diagonal from the base, steered (nats).';
COMMENT ON COLUMN round.steered_d_target_previous IS 'The same from the student the round started from (nats).';
COMMENT ON COLUMN round.steered_coherence IS 'Answer mass over the base''s, steered (fraction).';
COMMENT ON COLUMN round.steered_coherence_previous IS 'Answer mass over that of the student the round started from, steered (fraction).';
COMMENT ON COLUMN round.d_target IS 'Shift of the target''s diagonal from the base, healed (nats).';
COMMENT ON COLUMN round.d_target_low IS 'Lower end of its 95% interval over vignettes (nats).';
COMMENT ON COLUMN round.d_target_high IS 'Upper end of that interval (nats).';
COMMENT ON COLUMN round.d_target_previous IS 'Shift from the student the round started from, healed (nats).';
COMMENT ON COLUMN round.d_target_previous_low IS 'Lower end of its 95% interval over vignettes (nats).';
COMMENT ON COLUMN round.d_target_previous_high IS 'Upper end of that interval (nats).';
COMMENT ON COLUMN round.coherence IS 'Answer mass over the base''s, healed (fraction).';
COMMENT ON COLUMN round.coherence_low IS 'Lower end of its 95% interval over vignettes (fraction).';
COMMENT ON COLUMN round.coherence_high IS 'Upper end of that interval (fraction).';
COMMENT ON COLUMN round.coherence_previous IS 'Answer mass over that of the student the round started from, healed (fraction).';
COMMENT ON COLUMN round.coherence_previous_low IS 'Lower end of its 95% interval over vignettes (fraction).';
COMMENT ON COLUMN round.coherence_previous_high IS 'Upper end of that interval (fraction).';
COMMENT ON COLUMN round.target_nats IS 'The target''s diagonal, healed (nats).';
COMMENT ON COLUMN round.auth_nats IS 'Mean over Authority vignettes of log p[Authority], healed (nats).';
COMMENT ON COLUMN round.care_nats IS 'Mean over Care vignettes of log p[Care], healed (nats).';
COMMENT ON COLUMN round.d_auth IS 'Change of auth_nats from the base (nats).';
COMMENT ON COLUMN round.d_care IS 'Change of care_nats from the base (nats).';
COMMENT ON COLUMN round.base_nats IS 'The target''s diagonal on the base that the round''s own runs scored (nats).';
COMMENT ON COLUMN round.kl_base IS 'Mean KL(student || base) over the student''s own greedy texts (nats per token).';
COMMENT ON COLUMN round.kl_previous IS 'The same from the student the round started from (nats per token).';
COMMENT ON COLUMN round.kl_excess IS 'kl_base less kl_base of the round before less kl_previous: how far the steps are from adding up (nats per token).';
COMMENT ON COLUMN round.direction_norm IS 'Mean over blocks of the direction''s natural step (residual norm).';
COMMENT ON COLUMN round.cosine_first IS 'Cosine of the direction with that of round 0.';
COMMENT ON COLUMN round.cosine_last IS 'Cosine of the direction with that of the round before; NULL in round 0.';
COMMENT ON COLUMN round.cosine_teacher IS 'Cosine of the student''s own shift of the residual stream with the direction.';
COMMENT ON COLUMN round.reference IS 'Whom the barrier measured from: base or previous.';
COMMENT ON COLUMN round.tau IS 'Where the barrier begins (nats); NULL without one.';
COMMENT ON COLUMN round.over IS 'Share of the trained sequences whose divergence exceeds tau (fraction).';
COMMENT ON COLUMN round.start_divergence IS 'Divergence from the reference at the first step, aggregated as the barrier does (nats).';
COMMENT ON COLUMN round.kept_distinct IS 'Median over the trained texts of the share of distinct trigrams (fraction).';
COMMENT ON COLUMN round.base_distinct IS 'The same over the base''s texts to the same prompts (fraction).';
COMMENT ON COLUMN round.kept_perplexity IS 'Median perplexity of the trained texts under the untouched base.';
COMMENT ON COLUMN round.best_round IS 'Round so far that separates most while it is coherent; NULL where none is.';
COMMENT ON COLUMN round.stop IS 'Why the loop ended with this round: coherence floor, starvation, training broke, no gain or all rounds; empty where it went on.';
COMMENT ON COLUMN round.stop_why IS 'The figures behind it, in words.';
COMMENT ON COLUMN round.seconds IS 'Wall-clock time of the round''s own runs (seconds).';
