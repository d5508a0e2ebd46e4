-- From raw answers to the choice over the seven of them. Every other view of the trait builds on `choice`, which is wide
-- and has no windows because that is ten times as fast as the long form. steerkit/metrics.py is its twin in Python.
-- Filter by run_id with = or BETWEEN: DuckDB hands those down to the tables, but not a function of run_id.

CREATE OR REPLACE VIEW label_bias AS
SELECT run_id, eval_hash, ordering,
    any_value(nats) FILTER (foundation = 'Care') AS care,
    any_value(nats) FILTER (foundation = 'Fairness') AS fairness,
    any_value(nats) FILTER (foundation = 'Loyalty') AS loyalty,
    any_value(nats) FILTER (foundation = 'Authority') AS authority,
    any_value(nats) FILTER (foundation = 'Sanctity') AS sanctity,
    any_value(nats) FILTER (foundation = 'Liberty') AS liberty,
    any_value(nats) FILTER (foundation = 'SocialNorms') AS social_norms
-- A run that measured both kinds is corrected by the set mean.
FROM (SELECT *, max(kind) OVER (PARTITION BY run_id, eval_hash) AS best FROM prior)
WHERE kind = best
GROUP BY ALL;
COMMENT ON VIEW label_bias IS 'The label bias that corrects a run''s answers (nats): set-mean where measured, else content-free.';

CREATE OR REPLACE VIEW choice AS
WITH measured AS (
    SELECT DISTINCT run_id, eval_hash FROM prior
), score AS (
    SELECT a.run_id, a.arm_id, arm.eval_hash, a.vignette, a.foundation,
        -- Where no bias was measured there is none to take off; where one label's is missing, the row is unscorable.
        avg(a.care) AS raw_care,
        avg(a.fairness) AS raw_fairness,
        avg(a.loyalty) AS raw_loyalty,
        avg(a.authority) AS raw_authority,
        avg(a.sanctity) AS raw_sanctity,
        avg(a.liberty) AS raw_liberty,
        avg(a.social_norms) AS raw_social_norms,
        avg(a.care - coalesce(b.care, CASE WHEN m.run_id IS NULL THEN 0 ELSE 'nan'::DOUBLE END)) AS care,
        avg(a.fairness - coalesce(b.fairness, CASE WHEN m.run_id IS NULL THEN 0 ELSE 'nan'::DOUBLE END)) AS fairness,
        avg(a.loyalty - coalesce(b.loyalty, CASE WHEN m.run_id IS NULL THEN 0 ELSE 'nan'::DOUBLE END)) AS loyalty,
        avg(a.authority - coalesce(b.authority, CASE WHEN m.run_id IS NULL THEN 0 ELSE 'nan'::DOUBLE END)) AS authority,
        avg(a.sanctity - coalesce(b.sanctity, CASE WHEN m.run_id IS NULL THEN 0 ELSE 'nan'::DOUBLE END)) AS sanctity,
        avg(a.liberty - coalesce(b.liberty, CASE WHEN m.run_id IS NULL THEN 0 ELSE 'nan'::DOUBLE END)) AS liberty,
        avg(a.social_norms - coalesce(b.social_norms, CASE WHEN m.run_id IS NULL THEN 0 ELSE 'nan'::DOUBLE END)) AS social_norms,
        avg(1 - a.outside_mass) AS mass, avg(a.prefill_nll) AS prefill_nll, avg(a.think_tokens) AS think_tokens
    FROM answer a
    JOIN arm ON arm.run_id = a.run_id AND arm.arm_id = a.arm_id
    LEFT JOIN measured m ON m.run_id = a.run_id AND m.eval_hash = arm.eval_hash
    LEFT JOIN label_bias b ON b.run_id = a.run_id AND b.eval_hash = arm.eval_hash AND b.ordering = a.ordering
    GROUP BY ALL
), peak AS (
    SELECT *,
        greatest(care, fairness, loyalty, authority, sanctity, liberty, social_norms) AS top,
        greatest(raw_care, raw_fairness, raw_loyalty, raw_authority, raw_sanctity, raw_liberty, raw_social_norms) AS raw_top
    FROM score
), total AS (
    SELECT *,
        top + ln(
            exp(care - top) +
            exp(fairness - top) +
            exp(loyalty - top) +
            exp(authority - top) +
            exp(sanctity - top) +
            exp(liberty - top) +
            exp(social_norms - top)
        ) AS norm,
        raw_top + ln(
            exp(raw_care - raw_top) +
            exp(raw_fairness - raw_top) +
            exp(raw_loyalty - raw_top) +
            exp(raw_authority - raw_top) +
            exp(raw_sanctity - raw_top) +
            exp(raw_liberty - raw_top) +
            exp(raw_social_norms - raw_top)
        ) AS raw_norm
    FROM peak
)
SELECT run_id, arm_id, eval_hash, vignette, foundation, NOT isnan(norm) AS scorable,
    CASE WHEN isnan(norm) THEN NULL
        WHEN care = top THEN 'Care'
        WHEN fairness = top THEN 'Fairness'
        WHEN loyalty = top THEN 'Loyalty'
        WHEN authority = top THEN 'Authority'
        WHEN sanctity = top THEN 'Sanctity'
        WHEN liberty = top THEN 'Liberty'
        WHEN social_norms = top THEN 'SocialNorms'
    END AS pick,
    CASE foundation
        WHEN 'Care' THEN care - norm
        WHEN 'Fairness' THEN fairness - norm
        WHEN 'Loyalty' THEN loyalty - norm
        WHEN 'Authority' THEN authority - norm
        WHEN 'Sanctity' THEN sanctity - norm
        WHEN 'Liberty' THEN liberty - norm
        WHEN 'SocialNorms' THEN social_norms - norm
    END AS own,
    CASE foundation
        WHEN 'Care' THEN raw_care - raw_norm
        WHEN 'Fairness' THEN raw_fairness - raw_norm
        WHEN 'Loyalty' THEN raw_loyalty - raw_norm
        WHEN 'Authority' THEN raw_authority - raw_norm
        WHEN 'Sanctity' THEN raw_sanctity - raw_norm
        WHEN 'Liberty' THEN raw_liberty - raw_norm
        WHEN 'SocialNorms' THEN raw_social_norms - raw_norm
    END AS own_uncorrected,
    care - norm AS care,
    fairness - norm AS fairness,
    loyalty - norm AS loyalty,
    authority - norm AS authority,
    sanctity - norm AS sanctity,
    liberty - norm AS liberty,
    social_norms - norm AS social_norms,
    raw_care - raw_norm AS care_uncorrected,
    raw_fairness - raw_norm AS fairness_uncorrected,
    raw_loyalty - raw_norm AS loyalty_uncorrected,
    raw_authority - raw_norm AS authority_uncorrected,
    raw_sanctity - raw_norm AS sanctity_uncorrected,
    raw_liberty - raw_norm AS liberty_uncorrected,
    raw_social_norms - raw_norm AS social_norms_uncorrected,
    CASE WHEN isnan(mass) THEN 0 ELSE mass END AS mass, prefill_nll, think_tokens
FROM total;
COMMENT ON VIEW choice IS 'One row per arm and vignette: the choice over the seven answers, mean over orderings, then normalised (nats).';
COMMENT ON COLUMN choice.scorable IS 'Whether the answers can be read; where they cannot, every log p is NaN.';
COMMENT ON COLUMN choice.pick IS 'The likeliest answer; NULL when unscorable.';
COMMENT ON COLUMN choice.own IS 'log p of the answer that is the vignette''s own foundation (nats).';
COMMENT ON COLUMN choice.own_uncorrected IS 'The same without taking the label bias off (nats).';
COMMENT ON COLUMN choice.care_uncorrected IS 'log p[Care] without taking the label bias off (nats); so for the other six.';
COMMENT ON COLUMN choice.authority_uncorrected IS 'log p[Authority] without taking the label bias off (nats).';
COMMENT ON COLUMN choice.mass IS 'Full-vocabulary probability of the seven answers, p_ans_any (fraction).';
COMMENT ON COLUMN choice.prefill_nll IS 'Mean NLL of the scaffold tokens (nats per token).';
