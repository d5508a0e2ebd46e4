-- Gate 2: texts that are sampled, filtered and labelled.

COMMENT ON TABLE answer IS 'Raw answers: log-probabilities of the seven answers to one vignette in one example order; where an answer has several words, the mean of theirs.';
COMMENT ON COLUMN answer.outside_mass IS 'Probability of everything but the words of the seven answers (fraction).';

ALTER TABLE run ADD COLUMN parent_run VARCHAR;
COMMENT ON COLUMN run.parent_run IS 'The run this one goes on from: gate 2 from gate 1; NULL where it is a first.';

ALTER TABLE completion ADD COLUMN role VARCHAR;
ALTER TABLE completion ADD COLUMN sample_seed BIGINT;
ALTER TABLE completion ADD COLUMN schedule VARCHAR;
ALTER TABLE completion ADD COLUMN pieces VARCHAR[];
ALTER TABLE completion ADD COLUMN token_ids BIGINT[];
ALTER TABLE completion ADD COLUMN token_nll DOUBLE[];
COMMENT ON COLUMN completion.role IS 'greedy (gate 1), base, probe, collected or random; NULL in rows older than gate 2.';
COMMENT ON COLUMN completion.sample_seed IS 'Seed of the row''s own random numbers; NULL for greedy texts.';
COMMENT ON COLUMN completion.schedule IS 'How the strength runs over the text, for example constant or exp:40.';
COMMENT ON COLUMN completion.pieces IS 'Text of each generated token; joined they are the text.';
COMMENT ON COLUMN completion.token_ids IS 'The generated tokens, without the end token.';
COMMENT ON COLUMN completion.token_nll IS 'Negative log-likelihood of each generated token under the untouched base, the end token included (nats).';

CREATE TABLE text_gain (
    run_id        VARCHAR,
    unit_id       VARCHAR,
    completion_id VARCHAR,
    strength      DOUBLE,
    gain          DOUBLE,
    tokens        BIGINT
);
COMMENT ON TABLE text_gain IS 'How much more likely each text is under the steered model than under the base.';
COMMENT ON COLUMN text_gain.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN text_gain.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN text_gain.completion_id IS 'Text that was read.';
COMMENT ON COLUMN text_gain.strength IS 'Strength of the reference, in natural steps: the same for every text of a run.';
COMMENT ON COLUMN text_gain.gain IS 'Mean log p(steered) less log p(base) (nats per token).';
COMMENT ON COLUMN text_gain.tokens IS 'Tokens it is the mean of (tokens).';

CREATE TABLE backtrack (
    run_id          VARCHAR,
    unit_id         VARCHAR,
    completion_id   VARCHAR,
    attempt         BIGINT,
    at_token        BIGINT,
    rewound_to      BIGINT,
    why             VARCHAR,
    value           DOUBLE,
    strength_before DOUBLE,
    strength_after  DOUBLE
);
COMMENT ON TABLE backtrack IS 'Texts that broke while they were written: where, why, and with how much less strength they went on.';
COMMENT ON COLUMN backtrack.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN backtrack.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN backtrack.completion_id IS 'Text that broke.';
COMMENT ON COLUMN backtrack.attempt IS 'Counts the retries of one text, from 1.';
COMMENT ON COLUMN backtrack.at_token IS 'How long the text was when it broke (tokens).';
COMMENT ON COLUMN backtrack.rewound_to IS 'How much of it was kept (tokens).';
COMMENT ON COLUMN backtrack.why IS 'kl: the running divergence from the base was too high; loop: the tail repeated itself.';
COMMENT ON COLUMN backtrack.value IS 'What the detector saw: running KL (nats) or share of distinct n-grams (fraction).';
COMMENT ON COLUMN backtrack.strength_before IS 'Strength when it broke, in natural steps.';
COMMENT ON COLUMN backtrack.strength_after IS 'Strength of the replayed stretch, in natural steps.';

CREATE TABLE controller_step (
    run_id   VARCHAR,
    unit_id  VARCHAR,
    number   BIGINT,
    phase    VARCHAR,
    dose     DOUBLE,
    made     BIGINT,
    survived BIGINT,
    kept     BIGINT,
    note     VARCHAR
);
COMMENT ON TABLE controller_step IS 'What the dose controller did: doses probed, the choice they led to, batches collected.';
COMMENT ON COLUMN controller_step.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN controller_step.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN controller_step.number IS 'Order of the moves, from 0.';
COMMENT ON COLUMN controller_step.phase IS 'probe, choose or collect.';
COMMENT ON COLUMN controller_step.dose IS 'Dose it is about (multiples of the calibrated strength).';
COMMENT ON COLUMN controller_step.made IS 'Completions made at this dose in this move.';
COMMENT ON COLUMN controller_step.survived IS 'How many of them every check kept.';
COMMENT ON COLUMN controller_step.kept IS 'Completions kept so far, over all doses.';
COMMENT ON COLUMN controller_step.note IS 'What was decided, in words.';

CREATE TABLE filter_set (
    run_id     VARCHAR,
    unit_id    VARCHAR,
    filter_id  VARCHAR,
    seq        BIGINT,
    thresholds VARCHAR
);
COMMENT ON TABLE filter_set IS 'Rounds of decisions over a run''s completions; the newest by seq is the one that counts.';
COMMENT ON COLUMN filter_set.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN filter_set.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN filter_set.filter_id IS 'Hash of the run and the thresholds.';
COMMENT ON COLUMN filter_set.seq IS 'When it was decided (nanoseconds since the epoch).';
COMMENT ON COLUMN filter_set.thresholds IS 'Check to threshold, as canonical JSON.';

CREATE TABLE filter_decision (
    run_id        VARCHAR,
    unit_id       VARCHAR,
    filter_id     VARCHAR,
    completion_id VARCHAR,
    name          VARCHAR,
    value         DOUBLE,
    threshold     DOUBLE,
    direction     VARCHAR,
    keep          BOOLEAN,
    reason        VARCHAR,
    start         BIGINT,
    stop          BIGINT
);
COMMENT ON TABLE filter_decision IS 'What each check said of each completion; every check says something of every completion.';
COMMENT ON COLUMN filter_decision.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN filter_decision.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN filter_decision.filter_id IS 'Round of decisions it belongs to.';
COMMENT ON COLUMN filter_decision.completion_id IS 'Text that was judged.';
COMMENT ON COLUMN filter_decision.name IS 'Check, by name.';
COMMENT ON COLUMN filter_decision.value IS 'What it measured, in the check''s own unit.';
COMMENT ON COLUMN filter_decision.threshold IS 'What it was compared with, in the same unit.';
COMMENT ON COLUMN filter_decision.direction IS 'Which side of the threshold is kept: at most or at least.';
COMMENT ON COLUMN filter_decision.keep IS 'Whether this check alone would keep the text.';
COMMENT ON COLUMN filter_decision.reason IS 'What was seen, in words.';
COMMENT ON COLUMN filter_decision.start IS 'Where the offending span begins in the text (characters); NULL where there is none.';
COMMENT ON COLUMN filter_decision.stop IS 'Where it ends (characters).';

CREATE TABLE label (
    run_id        VARCHAR,
    unit_id       VARCHAR,
    completion_id VARCHAR,
    seq           BIGINT,
    labeller      VARCHAR,
    coherent      BOOLEAN,
    trait         VARCHAR
);
COMMENT ON TABLE label IS 'What people said of completions; per completion and labeller the newest by seq counts.';
COMMENT ON COLUMN label.run_id IS 'Hash of the run''s spec.';
COMMENT ON COLUMN label.unit_id IS 'Hash of the unit of work that made the row.';
COMMENT ON COLUMN label.completion_id IS 'Text that was read.';
COMMENT ON COLUMN label.seq IS 'When it was said (nanoseconds since the epoch).';
COMMENT ON COLUMN label.labeller IS 'Who said it.';
COMMENT ON COLUMN label.coherent IS 'Whether the text holds together; NULL where the label was taken back.';
COMMENT ON COLUMN label.trait IS 'enacts, narrates or neither; NULL where the label was taken back.';
