-- Gate 1. Append-only: no keys, no indexes, no updates; the single ingester keeps segments unique.
-- Columns are the fields of steerkit/records.py in their order; a test compares them.

CREATE TABLE schema_version (
    number  INTEGER,
    name    VARCHAR,
    sha256  VARCHAR,
    version VARCHAR
);
COMMENT ON TABLE schema_version IS 'Migrations and view sets applied to this file, in order.';
COMMENT ON COLUMN schema_version.number IS 'Number of the newest migration at that moment.';
COMMENT ON COLUMN schema_version.name IS 'File of the migration, or views.';
COMMENT ON COLUMN schema_version.sha256 IS 'Hash of its text.';
COMMENT ON COLUMN schema_version.version IS 'Version of steerkit that applied it.';

CREATE TABLE segment (
    name VARCHAR,
    rows BIGINT
);
COMMENT ON TABLE segment IS 'Segments that have arrived; each is inserted in the transaction that inserts its rows.';
COMMENT ON COLUMN segment.name IS 'Name of the segment; names sort by time of writing.';
COMMENT ON COLUMN segment.rows IS 'Rows it brought, over all tables (rows).';

CREATE TABLE run (
    run_id          VARCHAR,
    unit_id         VARCHAR,
    gate            VARCHAR,
    method          VARCHAR,
    trait           VARCHAR,
    model           VARCHAR,
    fingerprint     VARCHAR,
    dtype           VARCHAR,
    device          VARCHAR,
    seed            BIGINT,
    spec            VARCHAR,
    request         VARCHAR,
    thresholds      VARCHAR,
    thresholds_hash VARCHAR,
    version         VARCHAR,
    registered_at   VARCHAR
);
COMMENT ON TABLE run IS 'One pipeline over one spec, registered with its thresholds before any data of it exist.';
COMMENT ON COLUMN run.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN run.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN run.gate IS 'Gate the run serves, for example gate1.';
COMMENT ON COLUMN run.method IS 'Steering method under test.';
COMMENT ON COLUMN run.trait IS 'Persona pair, by name.';
COMMENT ON COLUMN run.model IS 'Model id or folder.';
COMMENT ON COLUMN run.fingerprint IS 'Hash of model config, dtype and sampled weights.';
COMMENT ON COLUMN run.dtype IS 'Number format of the weights in memory.';
COMMENT ON COLUMN run.device IS 'Device the run used.';
COMMENT ON COLUMN run.seed IS 'Seed of everything random in the run.';
COMMENT ON COLUMN run.spec IS 'Whole spec as canonical JSON; run_id is its hash.';
COMMENT ON COLUMN run.request IS 'Hash of what the user asked for, known before a model is loaded: an identical request is answered from here.';
COMMENT ON COLUMN run.thresholds IS 'The gate''s config as canonical JSON.';
COMMENT ON COLUMN run.thresholds_hash IS 'Hash of thresholds: what was pre-registered.';
COMMENT ON COLUMN run.version IS 'Version of steerkit.';
COMMENT ON COLUMN run.registered_at IS 'UTC time, ISO 8601.';

CREATE TABLE run_event (
    run_id  VARCHAR,
    unit_id VARCHAR,
    seq     BIGINT,
    state   VARCHAR,
    detail  VARCHAR,
    pid     BIGINT,
    host    VARCHAR
);
COMMENT ON TABLE run_event IS 'Changes of a run''s state; view run_state shows the newest.';
COMMENT ON COLUMN run_event.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN run_event.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN run_event.seq IS 'Nanoseconds since the epoch; the newest is the current state.';
COMMENT ON COLUMN run_event.state IS 'started, finished, failed or interrupted.';
COMMENT ON COLUMN run_event.detail IS 'Why, in words; empty when there is nothing to say.';
COMMENT ON COLUMN run_event.pid IS 'Process id of the run.';
COMMENT ON COLUMN run_event.host IS 'Host name of the run.';

CREATE TABLE unit (
    run_id  VARCHAR,
    unit_id VARCHAR,
    stage   VARCHAR,
    name    VARCHAR,
    seconds DOUBLE
);
COMMENT ON TABLE unit IS 'Finished units of work; a unit''s records arrived in the same atomic segment.';
COMMENT ON COLUMN unit.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN unit.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN unit.stage IS 'Stage that did it.';
COMMENT ON COLUMN unit.name IS 'What it was, in words.';
COMMENT ON COLUMN unit.seconds IS 'Wall-clock time (seconds).';

CREATE TABLE vignette (
    run_id     VARCHAR,
    unit_id    VARCHAR,
    vignette   VARCHAR,
    foundation VARCHAR,
    text       VARCHAR,
    set_hash   VARCHAR
);
COMMENT ON TABLE vignette IS 'Vignettes as they were scored in a run.';
COMMENT ON COLUMN vignette.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN vignette.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN vignette.vignette IS 'Id within its set.';
COMMENT ON COLUMN vignette.foundation IS 'Moral foundation the vignette is labelled with.';
COMMENT ON COLUMN vignette.text IS 'Text as shown to the model.';
COMMENT ON COLUMN vignette.set_hash IS 'Hash of the vignette set.';

CREATE TABLE direction (
    run_id       VARCHAR,
    unit_id      VARCHAR,
    direction_id VARCHAR,
    method       VARCHAR,
    kind         VARCHAR,
    config       VARCHAR,
    artifact     VARCHAR,
    extraction   VARCHAR
);
COMMENT ON TABLE direction IS 'Fitted steering directions, each over a band of blocks.';
COMMENT ON COLUMN direction.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN direction.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN direction.direction_id IS 'Hash of what the direction was fitted from.';
COMMENT ON COLUMN direction.method IS 'Method that fitted it.';
COMMENT ON COLUMN direction.kind IS 'real, or a null: random or shuffled (labels).';
COMMENT ON COLUMN direction.config IS 'Method config as canonical JSON.';
COMMENT ON COLUMN direction.artifact IS 'sha256 of the safetensors file that holds its tensors.';
COMMENT ON COLUMN direction.extraction IS 'Facts about the capture as canonical JSON: contexts, the token that was read, truncation, doubled start.';

CREATE TABLE direction_layer (
    run_id            VARCHAR,
    unit_id           VARCHAR,
    direction_id      VARCHAR,
    block             BIGINT,
    norm              DOUBLE,
    relative_norm     DOUBLE,
    half_split_cosine DOUBLE
);
COMMENT ON TABLE direction_layer IS 'Quality of one direction at one block.';
COMMENT ON COLUMN direction_layer.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN direction_layer.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN direction_layer.direction_id IS 'Direction it belongs to.';
COMMENT ON COLUMN direction_layer.block IS 'Index of the transformer block, from 0.';
COMMENT ON COLUMN direction_layer.norm IS 'Residual norm of the natural step, strength 1 (residual norm).';
COMMENT ON COLUMN direction_layer.relative_norm IS 'That norm over the mean residual norm at the same token (fraction).';
COMMENT ON COLUMN direction_layer.half_split_cosine IS 'Cosine between the directions of two disjoint halves of the contexts; NULL when not measured.';

CREATE TABLE dose (
    run_id       VARCHAR,
    unit_id      VARCHAR,
    direction_id VARCHAR,
    strength     DOUBLE,
    tokens       BIGINT,
    kl_mean      DOUBLE,
    kl_rmse      DOUBLE,
    kl_p50       DOUBLE,
    kl_p90       DOUBLE,
    kl_p95       DOUBLE,
    kl_max       DOUBLE
);
COMMENT ON TABLE dose IS 'Per-token KL(steered || base) over generated tokens at one strength of one direction.';
COMMENT ON COLUMN dose.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN dose.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN dose.direction_id IS 'Direction that steered.';
COMMENT ON COLUMN dose.strength IS 'Strength, in the method''s natural steps.';
COMMENT ON COLUMN dose.tokens IS 'Generated tokens measured (tokens).';
COMMENT ON COLUMN dose.kl_mean IS 'Mean (nats per token).';
COMMENT ON COLUMN dose.kl_rmse IS 'Root of the mean square (nats per token).';
COMMENT ON COLUMN dose.kl_p50 IS 'Median (nats per token).';
COMMENT ON COLUMN dose.kl_p90 IS '90th percentile (nats per token).';
COMMENT ON COLUMN dose.kl_p95 IS '95th percentile, the quantity a dose is calibrated to (nats per token).';
COMMENT ON COLUMN dose.kl_max IS 'Largest (nats per token).';

CREATE TABLE calibration (
    run_id       VARCHAR,
    unit_id      VARCHAR,
    direction_id VARCHAR,
    target       DOUBLE,
    strength     DOUBLE,
    status       VARCHAR
);
COMMENT ON TABLE calibration IS 'The strength at which a direction''s 95th-percentile KL meets the target.';
COMMENT ON COLUMN calibration.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN calibration.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN calibration.direction_id IS 'Direction that was calibrated.';
COMMENT ON COLUMN calibration.target IS 'Target of the 95th-percentile KL (nats per token).';
COMMENT ON COLUMN calibration.strength IS 'Strength that meets it, in natural steps; NULL when the ladder never reached it.';
COMMENT ON COLUMN calibration.status IS 'calibrated or uncalibrated.';

CREATE TABLE arm (
    run_id        VARCHAR,
    unit_id       VARCHAR,
    arm_id        VARCHAR,
    kind          VARCHAR,
    method        VARCHAR,
    direction_id  VARCHAR,
    strength      DOUBLE,
    dose          DOUBLE,
    eval_hash     VARCHAR,
    instrument    VARCHAR,
    system_prompt VARCHAR
);
COMMENT ON TABLE arm IS 'Scored conditions: a model state and the instrument''s settings.';
COMMENT ON COLUMN arm.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN arm.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN arm.arm_id IS 'Hash of the condition.';
COMMENT ON COLUMN arm.kind IS 'base, steered, random, shuffled or prompt.';
COMMENT ON COLUMN arm.method IS 'Steering method; none for base and prompt.';
COMMENT ON COLUMN arm.direction_id IS 'Direction that steered; NULL for base and prompt.';
COMMENT ON COLUMN arm.strength IS 'Strength, in the method''s natural steps.';
COMMENT ON COLUMN arm.dose IS 'Signed multiple of the calibrated strength; 0 for base and prompt.';
COMMENT ON COLUMN arm.eval_hash IS 'Hash of vignettes, instrument and settings, model fingerprint, dtype and tokenizer: deltas exist only within it.';
COMMENT ON COLUMN arm.instrument IS 'Instrument that read the answers.';
COMMENT ON COLUMN arm.system_prompt IS 'System prompt; NULL when there was none.';

CREATE TABLE answer (
    run_id       VARCHAR,
    unit_id      VARCHAR,
    arm_id       VARCHAR,
    vignette     VARCHAR,
    foundation   VARCHAR,
    ordering     BIGINT,
    care         DOUBLE,
    fairness     DOUBLE,
    loyalty      DOUBLE,
    authority    DOUBLE,
    sanctity     DOUBLE,
    liberty      DOUBLE,
    social_norms DOUBLE,
    outside_mass DOUBLE,
    prefill_nll  DOUBLE,
    think_tokens BIGINT
);
COMMENT ON TABLE answer IS 'Raw answers: log-probabilities of the seven answers to one vignette in one example order.';
COMMENT ON COLUMN answer.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN answer.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN answer.arm_id IS 'Arm that answered.';
COMMENT ON COLUMN answer.vignette IS 'Vignette asked about.';
COMMENT ON COLUMN answer.foundation IS 'The vignette''s label.';
COMMENT ON COLUMN answer.ordering IS 'Which order of the examples was shown, from 0.';
COMMENT ON COLUMN answer.care IS 'log p of this answer (nats, full vocabulary).';
COMMENT ON COLUMN answer.fairness IS 'log p of this answer (nats, full vocabulary).';
COMMENT ON COLUMN answer.loyalty IS 'log p of this answer (nats, full vocabulary).';
COMMENT ON COLUMN answer.authority IS 'log p of this answer (nats, full vocabulary).';
COMMENT ON COLUMN answer.sanctity IS 'log p of this answer (nats, full vocabulary).';
COMMENT ON COLUMN answer.liberty IS 'log p of this answer (nats, full vocabulary).';
COMMENT ON COLUMN answer.social_norms IS 'log p of this answer, ''not wrong'' (nats, full vocabulary).';
COMMENT ON COLUMN answer.outside_mass IS 'Probability of everything but the seven answers (fraction).';
COMMENT ON COLUMN answer.prefill_nll IS 'Mean NLL of the scaffold tokens before the answer (nats per token); NULL when there is no scaffold.';
COMMENT ON COLUMN answer.think_tokens IS 'Tokens thought before the answer (tokens).';

CREATE TABLE prior (
    run_id     VARCHAR,
    unit_id    VARCHAR,
    eval_hash  VARCHAR,
    kind       VARCHAR,
    ordering   BIGINT,
    foundation VARCHAR,
    nats       DOUBLE
);
COMMENT ON TABLE prior IS 'Label bias of the answers, measured on the base arm only; subtract it from raw log-probabilities.';
COMMENT ON COLUMN prior.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN prior.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN prior.eval_hash IS 'Evaluation the bias holds for.';
COMMENT ON COLUMN prior.kind IS 'set-mean or content-free.';
COMMENT ON COLUMN prior.ordering IS 'Which order of the examples, from 0.';
COMMENT ON COLUMN prior.foundation IS 'Answer whose bias this is.';
COMMENT ON COLUMN prior.nats IS 'Bias to subtract from the raw log-probability (nats).';

CREATE TABLE completion (
    run_id          VARCHAR,
    unit_id         VARCHAR,
    completion_id   VARCHAR,
    arm_id          VARCHAR,
    direction_id    VARCHAR,
    strength        DOUBLE,
    dose            DOUBLE,
    prompt_id       VARCHAR,
    prompt          VARCHAR,
    text            VARCHAR,
    tokens          BIGINT,
    ended           BOOLEAN,
    token_kl        DOUBLE[],
    perplexity      DOUBLE,
    tail_perplexity DOUBLE,
    distinct_tail   DOUBLE,
    compression     DOUBLE
);
COMMENT ON TABLE completion IS 'Generated texts with their health figures.';
COMMENT ON COLUMN completion.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN completion.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN completion.completion_id IS 'Hash of prompt, arm, dose and seed.';
COMMENT ON COLUMN completion.arm_id IS 'Arm it was generated under; NULL when it belongs to none.';
COMMENT ON COLUMN completion.direction_id IS 'Direction that steered; NULL when unsteered.';
COMMENT ON COLUMN completion.strength IS 'Strength, in the method''s natural steps.';
COMMENT ON COLUMN completion.dose IS 'Signed multiple of the calibrated strength.';
COMMENT ON COLUMN completion.prompt_id IS 'Id of the prompt.';
COMMENT ON COLUMN completion.prompt IS 'Prompt text.';
COMMENT ON COLUMN completion.text IS 'Generated text.';
COMMENT ON COLUMN completion.tokens IS 'Generated tokens (tokens).';
COMMENT ON COLUMN completion.ended IS 'Whether it ended by itself before the cap.';
COMMENT ON COLUMN completion.token_kl IS 'KL(steered || base) at each generated token (nats).';
COMMENT ON COLUMN completion.perplexity IS 'Perplexity under the untouched base (exp of mean NLL).';
COMMENT ON COLUMN completion.tail_perplexity IS 'The same over the last quarter of the text.';
COMMENT ON COLUMN completion.distinct_tail IS 'Smallest share of unique word trigrams in a sliding window (fraction; loops are low).';
COMMENT ON COLUMN completion.compression IS 'Largest zlib compression ratio over a sliding window (ratio; loops are high).';

CREATE TABLE effect (
    run_id   VARCHAR,
    unit_id  VARCHAR,
    arm_id   VARCHAR,
    quantity VARCHAR,
    value    DOUBLE,
    low      DOUBLE,
    high     DOUBLE,
    p_null   DOUBLE
);
COMMENT ON TABLE effect IS 'Quantities of an arm with their paired-bootstrap 95% intervals over vignettes.';
COMMENT ON COLUMN effect.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN effect.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN effect.arm_id IS 'Arm it was computed for.';
COMMENT ON COLUMN effect.quantity IS 'What it is, for example d_auth, d_target, coherence or d_<foundation>.';
COMMENT ON COLUMN effect.value IS 'Point value (nats for d_*, fraction for coherence); NULL when not measured.';
COMMENT ON COLUMN effect.low IS 'Lower end of the 95% interval, in the same unit.';
COMMENT ON COLUMN effect.high IS 'Upper end of the 95% interval, in the same unit.';
COMMENT ON COLUMN effect.p_null IS 'Share of null directions at the same dose that move at least as much, with the +1 correction (fraction).';

CREATE TABLE verdict (
    run_id    VARCHAR,
    unit_id   VARCHAR,
    gate      VARCHAR,
    name      VARCHAR,
    kind      VARCHAR,
    status    VARCHAR,
    value     DOUBLE,
    threshold DOUBLE,
    detail    VARCHAR,
    next_step VARCHAR
);
COMMENT ON TABLE verdict IS 'What each check of a gate said.';
COMMENT ON COLUMN verdict.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN verdict.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN verdict.gate IS 'Gate that asked.';
COMMENT ON COLUMN verdict.name IS 'Check, by name.';
COMMENT ON COLUMN verdict.kind IS 'criterion, hypothesis or gate.';
COMMENT ON COLUMN verdict.status IS 'Criterion: met, not met or not measured; hypothesis: observed, not observed or not measured; gate: PASS, FAIL or INCONCLUSIVE.';
COMMENT ON COLUMN verdict.value IS 'Measured value, in the check''s own unit; NULL when not measured.';
COMMENT ON COLUMN verdict.threshold IS 'What it was compared with, in the same unit.';
COMMENT ON COLUMN verdict.detail IS 'What was seen, in words.';
COMMENT ON COLUMN verdict.next_step IS 'What to do about it, in words.';

CREATE TABLE picture (
    run_id  VARCHAR,
    unit_id VARCHAR,
    name    VARCHAR,
    path    VARCHAR,
    sha256  VARCHAR
);
COMMENT ON TABLE picture IS 'Pictures written for a run.';
COMMENT ON COLUMN picture.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN picture.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN picture.name IS 'Name of the picture.';
COMMENT ON COLUMN picture.path IS 'Where it was written.';
COMMENT ON COLUMN picture.sha256 IS 'sha256 of the file.';
