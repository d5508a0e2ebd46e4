-- Gate 2's texts: what the checks keep, why they drop the others, and whether people agree. Rounds of decisions older
-- than a run's newest are left out (view decision).

CREATE OR REPLACE VIEW text_state AS
WITH said AS (
    SELECT run_id, completion_id, bool_and(keep) AS kept,
        coalesce(list(name ORDER BY name) FILTER (NOT keep), []) AS dropped_by
    FROM decision GROUP BY ALL
)
SELECT c.run_id, c.completion_id, c.role, c.dose, c.strength, c.prompt_id, said.kept, said.dropped_by,
    CASE WHEN len(said.dropped_by) = 1 THEN said.dropped_by[1] END AS only_reason,
    c.perplexity, c.distinct_tail, c.compression,
    list_aggregate(c.token_kl, 'mean') AS kl_mean,
    list_aggregate(c.token_kl, 'quantile_cont', 0.95) AS kl_p95,
    c.tokens, c.ended, text_gain.gain, c.text
FROM completion c
JOIN said ON said.run_id = c.run_id AND said.completion_id = c.completion_id
LEFT JOIN text_gain ON text_gain.run_id = c.run_id AND text_gain.completion_id = c.completion_id;
COMMENT ON VIEW text_state IS 'One row per completion that was decided on: what the checks say of it, and its figures.';
COMMENT ON COLUMN text_state.kept IS 'Whether every check keeps it.';
COMMENT ON COLUMN text_state.dropped_by IS 'The checks that drop it, by name; empty where it is kept.';
COMMENT ON COLUMN text_state.only_reason IS 'The check that drops it where there is just one: without it the text would be kept.';
COMMENT ON COLUMN text_state.kl_mean IS 'Mean KL(steered || base) over its tokens (nats).';
COMMENT ON COLUMN text_state.kl_p95 IS '95th percentile of the same (nats).';
COMMENT ON COLUMN text_state.gain IS 'Mean log p(steered) less log p(base) (nats per token); NULL where not measured.';

CREATE OR REPLACE VIEW survival AS
SELECT run_id, role, dose,
    count(*) AS made,
    count(*) FILTER (kept) AS kept,
    count(*) FILTER (kept) / count(*) AS fraction,
    median(perplexity) AS median_perplexity,
    avg(gain) AS mean_gain,
    avg(kl_mean) AS mean_kl
FROM text_state GROUP BY ALL;
COMMENT ON VIEW survival IS 'How many texts of each role and dose every check keeps; the figures are over all of them, kept or not.';
COMMENT ON COLUMN survival.fraction IS 'kept over made (fraction).';
COMMENT ON COLUMN survival.mean_gain IS 'Mean over texts of their gain (nats per token).';
COMMENT ON COLUMN survival.mean_kl IS 'Mean over texts of their mean KL(steered || base) (nats per token).';

CREATE OR REPLACE VIEW drop_reason AS
WITH said AS (
    SELECT d.run_id, d.name, d.threshold, d.direction, d.keep, t.role, t.only_reason
    FROM decision d
    JOIN text_state t ON t.run_id = d.run_id AND t.completion_id = d.completion_id
), counted AS (
    SELECT run_id, name, any_value(threshold) AS threshold, any_value(direction) AS direction,
        count(*) FILTER (role IN ('probe', 'collected')) AS steered,
        count(*) FILTER (role IN ('probe', 'collected') AND NOT keep) AS dropped,
        count(*) FILTER (role IN ('probe', 'collected') AND only_reason = name) AS alone,
        count(*) FILTER (role = 'base' AND NOT keep) AS base_dropped,
        count(*) FILTER (role = 'base') AS base
    FROM said GROUP BY ALL
)
SELECT run_id, name, threshold, direction, dropped, alone,
    CASE WHEN steered > 0 THEN dropped / steered END AS share, base_dropped, base
FROM counted;
COMMENT ON VIEW drop_reason IS 'How many steered texts (probe and collected) each check drops, and how many of the base.';
COMMENT ON COLUMN drop_reason.threshold IS 'What it compares with, in the check''s own unit.';
COMMENT ON COLUMN drop_reason.direction IS 'Which side of the threshold is kept: at most or at least.';
COMMENT ON COLUMN drop_reason.dropped IS 'Steered texts that it drops.';
COMMENT ON COLUMN drop_reason.alone IS 'Those of them that every other check keeps.';
COMMENT ON COLUMN drop_reason.share IS 'dropped over all steered texts (fraction); NULL where there are none.';
COMMENT ON COLUMN drop_reason.base_dropped IS 'Unsteered texts that it drops: what it costs without any steering.';
COMMENT ON COLUMN drop_reason.base IS 'Unsteered texts that were decided on.';

CREATE OR REPLACE VIEW current_label AS
WITH newest AS (
    SELECT DISTINCT ON (run_id, completion_id, labeller) * FROM label
    ORDER BY run_id, completion_id, labeller, seq DESC
)
SELECT * FROM newest WHERE coherent IS NOT NULL;
COMMENT ON VIEW current_label IS 'What each labeller says of each completion now; labels that were taken back are gone.';

CREATE OR REPLACE VIEW label_truth AS
WITH counted AS (
    SELECT run_id, completion_id,
        count(*) AS labellers,
        count(*) FILTER (coherent AND trait <> 'narrates') AS ayes
    FROM current_label GROUP BY ALL
)
SELECT run_id, completion_id, 2 * ayes > labellers AS good, labellers FROM counted WHERE 2 * ayes <> labellers;
COMMENT ON VIEW label_truth IS 'What most labellers say of each completion; ties are left out. steerkit/labelling.py is its twin in Python.';
COMMENT ON COLUMN label_truth.good IS 'Whether the text is coherent and does not narrate the trait.';
COMMENT ON COLUMN label_truth.labellers IS 'How many people labelled it.';

CREATE OR REPLACE VIEW filter_quality AS
WITH steered AS (
    SELECT t.run_id, t.completion_id, t.kept, t.dropped_by, truth.good,
        -- Kept and dropped texts are labelled at different rates: each stands for its group's unlabelled ones too.
        count(*) OVER each_group / nullif(count(truth.good) OVER each_group, 0) AS weight
    FROM text_state t
    LEFT JOIN label_truth truth ON truth.run_id = t.run_id AND truth.completion_id = t.completion_id
    WHERE t.role IN ('probe', 'collected')
    WINDOW each_group AS (PARTITION BY t.run_id, t.kept)
), covered AS (
    SELECT run_id, bool_and(weight IS NOT NULL) AS both_groups FROM steered GROUP BY ALL
), labelled AS (
    SELECT * FROM steered WHERE good IS NOT NULL
), tried AS (
    SELECT run_id, 'all checks' AS name, kept AS hit, good AS wanted, weight FROM labelled
    UNION ALL
    SELECT l.run_id, d.name, NOT d.keep, NOT l.good, l.weight
    FROM labelled l
    JOIN decision d ON d.run_id = l.run_id AND d.completion_id = l.completion_id
)
SELECT tried.run_id, name,
    count(*) FILTER (hit AND wanted) AS tp,
    count(*) FILTER (hit AND NOT wanted) AS fp,
    count(*) FILTER (NOT hit AND wanted) AS fn,
    count(*) FILTER (NOT hit AND NOT wanted) AS tn,
    sum(CASE WHEN wanted THEN weight ELSE 0 END) FILTER (hit) / sum(weight) FILTER (hit) AS precision,
    CASE WHEN any_value(both_groups)
        THEN sum(CASE WHEN hit THEN weight ELSE 0 END) FILTER (wanted) / sum(weight) FILTER (wanted)
    END AS recall
FROM tried JOIN covered ON covered.run_id = tried.run_id
GROUP BY ALL;
COMMENT ON VIEW filter_quality IS 'Each check, and all together, against the labels of steered texts. Its twin is steerkit/labelling.py.';
COMMENT ON COLUMN filter_quality.name IS 'The check, for which a hit is a text it drops; or all checks, for which a hit is a text they keep.';
COMMENT ON COLUMN filter_quality.tp IS 'Labelled texts it hits and should: bad ones dropped, or good ones kept.';
COMMENT ON COLUMN filter_quality.fp IS 'Labelled texts it hits and should not: good ones dropped, or bad ones kept.';
COMMENT ON COLUMN filter_quality.fn IS 'Labelled texts it should hit and does not: bad ones passed, or good ones dropped.';
COMMENT ON COLUMN filter_quality.tn IS 'Labelled texts it should not hit and does not.';
COMMENT ON COLUMN filter_quality.precision IS 'Right hits among its hits, weighted to all steered texts of the run (fraction).';
COMMENT ON COLUMN filter_quality.recall IS 'Right hits among all it should hit, weighted in the same way (fraction); NULL while only kept or only dropped texts are labelled.';
