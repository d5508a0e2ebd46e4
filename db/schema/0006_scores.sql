-- Free answers to an instrument's question, human label distributions, checks of instruments, and runs scored anew.

CREATE TABLE free_answer (
    run_id     VARCHAR,
    unit_id    VARCHAR,
    arm_id     VARCHAR,
    vignette   VARCHAR,
    ordering   BIGINT,
    text       VARCHAR,
    valid      BOOLEAN,
    answer     VARCHAR
);
COMMENT ON TABLE free_answer IS 'What an arm writes, greedily, when the instrument''s question is not answered for it.';
COMMENT ON COLUMN free_answer.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN free_answer.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN free_answer.arm_id IS 'Arm that wrote it.';
COMMENT ON COLUMN free_answer.vignette IS 'Vignette asked about.';
COMMENT ON COLUMN free_answer.ordering IS 'Which order of the options was shown, from 0.';
COMMENT ON COLUMN free_answer.text IS 'The answer as written.';
COMMENT ON COLUMN free_answer.valid IS 'Whether it parses strictly as the JSON that was asked for, with one of the seven answers.';
COMMENT ON COLUMN free_answer.answer IS 'The foundation it names; NULL when invalid.';

CREATE TABLE human_label (
    run_id     VARCHAR,
    unit_id    VARCHAR,
    vignette   VARCHAR,
    foundation VARCHAR,
    share      DOUBLE
);
COMMENT ON TABLE human_label IS 'How people judged a vignette, where its set says so.';
COMMENT ON COLUMN human_label.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN human_label.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN human_label.vignette IS 'Vignette that was judged.';
COMMENT ON COLUMN human_label.foundation IS 'Answer that was given.';
COMMENT ON COLUMN human_label.share IS 'Share of people who gave it (fraction; the seven of a vignette sum to 1).';

CREATE TABLE instrument_check (
    run_id             VARCHAR,
    unit_id            VARCHAR,
    seq                BIGINT,
    instrument         VARCHAR,
    config             VARCHAR,
    model              VARCHAR,
    fingerprint        VARCHAR,
    dtype              VARCHAR,
    device             VARCHAR,
    vignettes_hash     VARCHAR,
    vignettes          BIGINT,
    trait              VARCHAR,
    answer_mass        DOUBLE,
    frac_unscorable    DOUBLE,
    auc                DOUBLE,
    informedness       DOUBLE,
    informedness_low   DOUBLE,
    informedness_high  DOUBLE,
    order_disagreement DOUBLE,
    repeat_nats        DOUBLE,
    repeat_picks       DOUBLE,
    seconds_per_100    DOUBLE,
    headroom           DOUBLE,
    headroom_low       DOUBLE,
    headroom_high      DOUBLE,
    fit                BOOLEAN,
    recommended        BOOLEAN,
    why                VARCHAR
);
COMMENT ON TABLE instrument_check IS 'Whether an instrument is fit for a model: one row per instrument and check.';
COMMENT ON COLUMN instrument_check.run_id IS 'Run that holds the raw answers of this instrument.';
COMMENT ON COLUMN instrument_check.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN instrument_check.seq IS 'When: nanoseconds since the epoch; the instruments of one check share it.';
COMMENT ON COLUMN instrument_check.instrument IS 'Instrument that was checked.';
COMMENT ON COLUMN instrument_check.config IS 'Its settings as canonical JSON.';
COMMENT ON COLUMN instrument_check.model IS 'Model it was checked on.';
COMMENT ON COLUMN instrument_check.fingerprint IS 'Hash of model config, dtype and sampled weights.';
COMMENT ON COLUMN instrument_check.dtype IS 'The weights'' type.';
COMMENT ON COLUMN instrument_check.device IS 'Where the model ran.';
COMMENT ON COLUMN instrument_check.vignettes_hash IS 'Hash of the vignettes.';
COMMENT ON COLUMN instrument_check.vignettes IS 'How many vignettes were read.';
COMMENT ON COLUMN instrument_check.trait IS 'Trait whose persona prompt the headroom was measured with.';
COMMENT ON COLUMN instrument_check.answer_mass IS 'Mean full-vocabulary probability of the seven answers (fraction).';
COMMENT ON COLUMN instrument_check.frac_unscorable IS 'Share of vignettes without a readable answer (fraction).';
COMMENT ON COLUMN instrument_check.auc IS 'Mean one-vs-rest area under the ROC curve against the labels (fraction; 0.5 is chance).';
COMMENT ON COLUMN instrument_check.informedness IS 'Mean over foundations of recall less false-alarm rate, label bias taken off (0 is chance, 1 perfect).';
COMMENT ON COLUMN instrument_check.informedness_low IS 'Lower end of its bootstrap 95% interval.';
COMMENT ON COLUMN instrument_check.informedness_high IS 'Upper end of its bootstrap 95% interval.';
COMMENT ON COLUMN instrument_check.order_disagreement IS 'Share of vignettes whose likeliest answer is not the same in every order (fraction); NULL with one order.';
COMMENT ON COLUMN instrument_check.repeat_nats IS 'Largest change of any answer''s log p when the same vignettes are read again in other batches (nats).';
COMMENT ON COLUMN instrument_check.repeat_picks IS 'Share of vignettes whose likeliest answer changes then (fraction).';
COMMENT ON COLUMN instrument_check.seconds_per_100 IS 'Time of 100 vignettes, preparation included (seconds).';
COMMENT ON COLUMN instrument_check.headroom IS 'Shift of the target in the intended direction by the persona as a system prompt (nats).';
COMMENT ON COLUMN instrument_check.headroom_low IS 'Lower end of its paired-bootstrap 95% interval (nats).';
COMMENT ON COLUMN instrument_check.headroom_high IS 'Upper end of its paired-bootstrap 95% interval (nats).';
COMMENT ON COLUMN instrument_check.fit IS 'Whether it can be used on this model.';
COMMENT ON COLUMN instrument_check.recommended IS 'Whether it is the one to use.';
COMMENT ON COLUMN instrument_check.why IS 'What speaks for or against it, in words.';

CREATE TABLE rescored (
    run_id     VARCHAR,
    unit_id    VARCHAR,
    rescore_id VARCHAR,
    seq        BIGINT,
    version    VARCHAR,
    corrected  BOOLEAN,
    floor      DOUBLE,
    arm_id     VARCHAR,
    quantity   VARCHAR,
    value      DOUBLE,
    low        DOUBLE,
    high       DOUBLE
);
COMMENT ON TABLE rescored IS 'Quantities of a finished run''s arms by another version of the metrics, from its raw answers.';
COMMENT ON COLUMN rescored.run_id IS 'Run that was scored anew.';
COMMENT ON COLUMN rescored.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN rescored.rescore_id IS 'Hash of run, version and moment: the rows of one call.';
COMMENT ON COLUMN rescored.seq IS 'When: nanoseconds since the epoch; the newest counts.';
COMMENT ON COLUMN rescored.version IS 'Version of the metrics (view metric_version), or own where single settings were given.';
COMMENT ON COLUMN rescored.corrected IS 'Whether the label bias was taken off.';
COMMENT ON COLUMN rescored.floor IS 'Probability below which an answer counts as this much (fraction).';
COMMENT ON COLUMN rescored.arm_id IS 'Arm it was computed for.';
COMMENT ON COLUMN rescored.quantity IS 'What it is, as in table effect.';
COMMENT ON COLUMN rescored.value IS 'Point value, in the quantity''s own unit; NULL where undefined.';
COMMENT ON COLUMN rescored.low IS 'Lower end of the paired-bootstrap 95% interval.';
COMMENT ON COLUMN rescored.high IS 'Upper end of the paired-bootstrap 95% interval.';
