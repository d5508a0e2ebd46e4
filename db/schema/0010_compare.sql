-- Comparisons of methods, and scans of layers.

ALTER TABLE calibration ADD COLUMN scale VARCHAR;
COMMENT ON TABLE calibration IS 'The strength at which a direction disturbs the model by the target.';
COMMENT ON COLUMN calibration.target IS 'Target, on the scale: nats per token, or the fraction of answer mass lost.';
COMMENT ON COLUMN calibration.scale IS 'p95-kl, rmse-kl or answer-mass; NULL is p95-kl.';
COMMENT ON COLUMN arm.dose IS 'Signed multiple of the calibrated strength; in comparisons and scans the signed amount on their dose scale; 0 for base and prompt.';

CREATE TABLE capture (
    run_id     VARCHAR,
    unit_id    VARCHAR,
    capture_id VARCHAR,
    trait      VARCHAR,
    site       VARCHAR,
    seed       BIGINT,
    contexts   BIGINT,
    blocks     BIGINT[],
    artifact   VARCHAR,
    extraction VARCHAR,
    reused     BOOLEAN
);
COMMENT ON TABLE capture IS 'Activations under both poles, captured once per model, trait, contexts, site and blocks.';
COMMENT ON COLUMN capture.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN capture.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN capture.capture_id IS 'Hash of all that decides them.';
COMMENT ON COLUMN capture.trait IS 'Persona pair, by name.';
COMMENT ON COLUMN capture.site IS 'Where in a block they were read.';
COMMENT ON COLUMN capture.seed IS 'Which draw of contexts, from 0.';
COMMENT ON COLUMN capture.contexts IS 'Contexts under each pole (contexts).';
COMMENT ON COLUMN capture.blocks IS 'Blocks they were read at.';
COMMENT ON COLUMN capture.artifact IS 'sha256 of the safetensors file that holds them.';
COMMENT ON COLUMN capture.extraction IS 'Facts about the capture as canonical JSON.';
COMMENT ON COLUMN capture.reused IS 'Whether an earlier run had captured them.';

CREATE TABLE contender (
    run_id           VARCHAR,
    unit_id          VARCHAR,
    method           VARCHAR,
    distribution     VARCHAR,
    standing         VARCHAR,
    detail           VARCHAR,
    dose             DOUBLE,
    hypervolume      DOUBLE,
    hypervolume_low  DOUBLE,
    hypervolume_high DOUBLE
);
COMMENT ON TABLE contender IS 'How each method of a comparison fared.';
COMMENT ON COLUMN contender.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN contender.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN contender.method IS 'Method, or prompt for the persona as a system prompt.';
COMMENT ON COLUMN contender.distribution IS 'Package that brought it, with its version.';
COMMENT ON COLUMN contender.standing IS 'compared, raced out (the screen saw that no dose can be on the front), uncalibrated, failed or missing.';
COMMENT ON COLUMN contender.detail IS 'Why it was not compared and what to do; empty where it was.';
COMMENT ON COLUMN contender.dose IS 'Dose chosen on the choosing half of the vignettes (amount on the scale); NULL where there is none.';
COMMENT ON COLUMN contender.hypervolume IS 'Area that its fully read doses dominate (nats times fraction).';
COMMENT ON COLUMN contender.hypervolume_low IS 'Lower end of its 95% interval.';
COMMENT ON COLUMN contender.hypervolume_high IS 'Upper end of its 95% interval.';

CREATE TABLE point (
    run_id   VARCHAR,
    unit_id  VARCHAR,
    point_id VARCHAR,
    method   VARCHAR,
    dose     DOUBLE,
    scale    VARCHAR,
    strength DOUBLE,
    reached  DOUBLE,
    seeds    BIGINT,
    state    VARCHAR
);
COMMENT ON TABLE point IS 'Each method at each dose of a comparison, over all seeds.';
COMMENT ON COLUMN point.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN point.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN point.point_id IS 'Hash of run, method and dose.';
COMMENT ON COLUMN point.method IS 'Method, or prompt.';
COMMENT ON COLUMN point.dose IS 'Amount on the scale; NULL for the prompt.';
COMMENT ON COLUMN point.scale IS 'p95-kl or rmse-kl (nats per token), or answer-mass (fraction lost).';
COMMENT ON COLUMN point.strength IS 'Strength, in the method''s natural steps, mean over seeds.';
COMMENT ON COLUMN point.reached IS 'Amount measured at those strengths, mean over seeds, on the scale.';
COMMENT ON COLUMN point.seeds IS 'Draws of contexts that were read in full (draws).';
COMMENT ON COLUMN point.state IS 'full, screened (the screen saw that it cannot be on the front), uncalibrated or failed.';

CREATE TABLE point_effect (
    run_id   VARCHAR,
    unit_id  VARCHAR,
    point_id VARCHAR,
    part     VARCHAR,
    quantity VARCHAR,
    value    DOUBLE,
    low      DOUBLE,
    high     DOUBLE,
    p_null   DOUBLE
);
COMMENT ON TABLE point_effect IS 'Quantities of points with their 95% bootstrap intervals over vignettes and seeds.';
COMMENT ON COLUMN point_effect.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN point_effect.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN point_effect.point_id IS 'Point it was computed for.';
COMMENT ON COLUMN point_effect.part IS 'Vignettes: screen, all, choice (the half strengths are chosen on) or test (the half they are reported on).';
COMMENT ON COLUMN point_effect.quantity IS 'What it is, for example d_auth, coherence, gated_selectivity, si_flips or front_probability.';
COMMENT ON COLUMN point_effect.value IS 'Point value (nats for d_*, fraction for coherence); NULL when not measured.';
COMMENT ON COLUMN point_effect.low IS 'Lower end of the 95% interval, in the same unit.';
COMMENT ON COLUMN point_effect.high IS 'Upper end of the 95% interval, in the same unit.';
COMMENT ON COLUMN point_effect.p_null IS 'Share of null directions at the same dose that move at least as much, with the +1 correction (fraction).';

CREATE TABLE comparison (
    run_id           VARCHAR,
    unit_id          VARCHAR,
    hypervolume      DOUBLE,
    hypervolume_low  DOUBLE,
    hypervolume_high DOUBLE,
    readings         BIGINT,
    readings_unraced BIGINT
);
COMMENT ON TABLE comparison IS 'A comparison as a whole.';
COMMENT ON COLUMN comparison.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN comparison.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN comparison.hypervolume IS 'Area that all points together dominate (nats times fraction).';
COMMENT ON COLUMN comparison.hypervolume_low IS 'Lower end of its 95% interval.';
COMMENT ON COLUMN comparison.hypervolume_high IS 'Upper end of its 95% interval.';
COMMENT ON COLUMN comparison.readings IS 'Vignettes read, over all arms (readings).';
COMMENT ON COLUMN comparison.readings_unraced IS 'What it would have been without racing (readings).';

CREATE TABLE band (
    run_id       VARCHAR,
    unit_id      VARCHAR,
    direction_id VARCHAR,
    first_block  BIGINT,
    last_block   BIGINT,
    scale        VARCHAR,
    dose         DOUBLE,
    strength     DOUBLE,
    reached      DOUBLE,
    arm_id       VARCHAR,
    test_arm_id  VARCHAR,
    chosen       BOOLEAN
);
COMMENT ON TABLE band IS 'Bands of blocks that a scan steered at one matched dose.';
COMMENT ON COLUMN band.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN band.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN band.direction_id IS 'Direction that was fitted over the band.';
COMMENT ON COLUMN band.first_block IS 'First steered block, from 0.';
COMMENT ON COLUMN band.last_block IS 'Last steered block.';
COMMENT ON COLUMN band.scale IS 'p95-kl or rmse-kl (nats per token), or answer-mass (fraction lost).';
COMMENT ON COLUMN band.dose IS 'Amount on the scale.';
COMMENT ON COLUMN band.strength IS 'Strength that reaches it, in natural steps; NULL where none does.';
COMMENT ON COLUMN band.reached IS 'Amount measured at that strength.';
COMMENT ON COLUMN band.arm_id IS 'Arm on the half of the vignettes that the band is chosen on.';
COMMENT ON COLUMN band.test_arm_id IS 'Arm on the other half; of the chosen and the default band only.';
COMMENT ON COLUMN band.chosen IS 'Whether this band moves the target most while it is coherent.';
