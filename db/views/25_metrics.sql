-- Metrics over the raw answers, by version: what each is, and its value for every arm. A version says whether the label
-- bias is taken off and where probabilities are floored; what an older version said can always be asked again.
-- steerkit/metrics.py and steerkit/agreement.py are the twins in Python. Filter by run_id and version.

CREATE OR REPLACE VIEW metric_version AS
FROM (VALUES
    ('v1', TRUE, 1e-6, 'The label bias is taken off where it was measured; probabilities are floored at 1e-6.'),
    ('v1-raw', FALSE, 1e-6, 'The label bias stays in: the answers as the model gave them.'),
    ('v1-tail', TRUE, 1e-12, 'As v1, but floored at 1e-12, so that the far tail counts.')
) AS versions(version, corrected, floor, meaning);
COMMENT ON VIEW metric_version IS 'The versions of the metrics; v1 is what gates read.';
COMMENT ON COLUMN metric_version.corrected IS 'Whether the label bias is taken off the raw log-probabilities.';
COMMENT ON COLUMN metric_version.floor IS 'Probability below which an answer counts as this much (fraction).';
COMMENT ON COLUMN metric_version.meaning IS 'The version in words.';

CREATE OR REPLACE VIEW answer_by_version AS
SELECT c.run_id, c.arm_id, c.eval_hash, c.vignette, c.foundation, v.version, ln(v.floor) AS lowest, c.mass,
    CASE WHEN v.corrected THEN c.care ELSE c.care_uncorrected END AS care,
    CASE WHEN v.corrected THEN c.fairness ELSE c.fairness_uncorrected END AS fairness,
    CASE WHEN v.corrected THEN c.loyalty ELSE c.loyalty_uncorrected END AS loyalty,
    CASE WHEN v.corrected THEN c.authority ELSE c.authority_uncorrected END AS authority,
    CASE WHEN v.corrected THEN c.sanctity ELSE c.sanctity_uncorrected END AS sanctity,
    CASE WHEN v.corrected THEN c.liberty ELSE c.liberty_uncorrected END AS liberty,
    CASE WHEN v.corrected THEN c.social_norms ELSE c.social_norms_uncorrected END AS social_norms,
    NOT isnan(CASE WHEN v.corrected THEN c.care ELSE c.care_uncorrected END) AS scorable
FROM choice c CROSS JOIN metric_version v;
COMMENT ON VIEW answer_by_version IS 'The choice over the seven answers by each version of the metrics: log p (nats), NaN where unscorable.';
COMMENT ON COLUMN answer_by_version.lowest IS 'The version''s floor (nats).';
COMMENT ON COLUMN answer_by_version.mass IS 'Full-vocabulary probability of the seven answers (fraction).';
COMMENT ON COLUMN answer_by_version.care IS 'log p[Care] (nats); so for the other six.';

CREATE OR REPLACE VIEW pick_by_version AS
WITH peak AS (
    SELECT *, greatest(care, fairness, loyalty, authority, sanctity, liberty, social_norms) AS top
    FROM answer_by_version
)
SELECT run_id, arm_id, eval_hash, vignette, foundation, version, scorable,
    CASE WHEN NOT scorable THEN NULL
        WHEN care = top THEN 'Care'
        WHEN fairness = top THEN 'Fairness'
        WHEN loyalty = top THEN 'Loyalty'
        WHEN authority = top THEN 'Authority'
        WHEN sanctity = top THEN 'Sanctity'
        WHEN liberty = top THEN 'Liberty'
        WHEN social_norms = top THEN 'SocialNorms'
    END AS pick,
    CASE foundation
        WHEN 'Care' THEN greatest(care, lowest)
        WHEN 'Fairness' THEN greatest(fairness, lowest)
        WHEN 'Loyalty' THEN greatest(loyalty, lowest)
        WHEN 'Authority' THEN greatest(authority, lowest)
        WHEN 'Sanctity' THEN greatest(sanctity, lowest)
        WHEN 'Liberty' THEN greatest(liberty, lowest)
        WHEN 'SocialNorms' THEN greatest(social_norms, lowest)
    END AS own,
    top - list_sort([care, fairness, loyalty, authority, sanctity, liberty, social_norms])[6] AS margin,
    -(exp(care) * greatest(care, lowest) +
        exp(fairness) * greatest(fairness, lowest) +
        exp(loyalty) * greatest(loyalty, lowest) +
        exp(authority) * greatest(authority, lowest) +
        exp(sanctity) * greatest(sanctity, lowest) +
        exp(liberty) * greatest(liberty, lowest) +
        exp(social_norms) * greatest(social_norms, lowest)) AS entropy,
    (greatest(care, lowest) + greatest(fairness, lowest) + greatest(loyalty, lowest) + greatest(authority, lowest) +
        greatest(sanctity, lowest) + greatest(liberty, lowest) + greatest(social_norms, lowest)) / 7 AS centre,
    lowest, mass, care, fairness, loyalty, authority, sanctity, liberty, social_norms
FROM peak;
COMMENT ON VIEW pick_by_version IS 'One row per arm, vignette and version: the likeliest answer, and what the row adds to each metric.';
COMMENT ON COLUMN pick_by_version.pick IS 'The likeliest answer; NULL when unscorable.';
COMMENT ON COLUMN pick_by_version.own IS 'log p of the vignette''s own foundation, floored (nats).';
COMMENT ON COLUMN pick_by_version.margin IS 'The likeliest answer''s lead over the second (nats).';
COMMENT ON COLUMN pick_by_version.entropy IS 'Entropy of the choice (nats; at most ln 7).';
COMMENT ON COLUMN pick_by_version.centre IS 'Mean floored log p of the seven answers (nats): what a centred log-ratio takes off.';

CREATE OR REPLACE VIEW trait_by_version AS
SELECT run_id, arm_id, eval_hash, version,
    count(*) AS vignettes,
    count(*) FILTER (NOT scorable) AS unscorable,
    avg(own) FILTER (scorable AND foundation = 'Authority') AS auth_nats,
    greatest(ln(greatest(avg(exp(authority)) FILTER (scorable), 1e-300)), any_value(lowest)) AS auth_marginal_nats,
    avg(own) FILTER (scorable AND foundation = 'Care') AS care_nats,
    avg(own) FILTER (scorable AND foundation = 'Fairness') AS fairness_nats,
    avg(own) FILTER (scorable AND foundation = 'Loyalty') AS loyalty_nats,
    avg(own) FILTER (scorable AND foundation = 'Authority') AS authority_nats,
    avg(own) FILTER (scorable AND foundation = 'Sanctity') AS sanctity_nats,
    avg(own) FILTER (scorable AND foundation = 'Liberty') AS liberty_nats,
    avg(own) FILTER (scorable AND foundation = 'SocialNorms') AS social_norms_nats,
    avg(greatest(care, lowest) - centre) FILTER (scorable AND foundation = 'Care') AS care_clr,
    avg(greatest(fairness, lowest) - centre) FILTER (scorable AND foundation = 'Fairness') AS fairness_clr,
    avg(greatest(loyalty, lowest) - centre) FILTER (scorable AND foundation = 'Loyalty') AS loyalty_clr,
    avg(greatest(authority, lowest) - centre) FILTER (scorable AND foundation = 'Authority') AS authority_clr,
    avg(greatest(sanctity, lowest) - centre) FILTER (scorable AND foundation = 'Sanctity') AS sanctity_clr,
    avg(greatest(liberty, lowest) - centre) FILTER (scorable AND foundation = 'Liberty') AS liberty_clr,
    avg(greatest(social_norms, lowest) - centre) FILTER (scorable AND foundation = 'SocialNorms') AS social_norms_clr,
    count(*) FILTER (pick = 'Care') / count(*) AS care_picked,
    count(*) FILTER (pick = 'Fairness') / count(*) AS fairness_picked,
    count(*) FILTER (pick = 'Loyalty') / count(*) AS loyalty_picked,
    count(*) FILTER (pick = 'Authority') / count(*) AS authority_picked,
    count(*) FILTER (pick = 'Sanctity') / count(*) AS sanctity_picked,
    count(*) FILTER (pick = 'Liberty') / count(*) AS liberty_picked,
    count(*) FILTER (pick = 'SocialNorms') / count(*) AS social_norms_picked,
    count(*) FILTER (pick = foundation) / count(*) AS accuracy,
    -- A label without a vignette on either side has no rate; list_avg leaves it out.
    list_avg([
        avg((pick IS NOT DISTINCT FROM 'Care')::INTEGER) FILTER (foundation = 'Care') -
            avg((pick IS NOT DISTINCT FROM 'Care')::INTEGER) FILTER (foundation <> 'Care'),
        avg((pick IS NOT DISTINCT FROM 'Fairness')::INTEGER) FILTER (foundation = 'Fairness') -
            avg((pick IS NOT DISTINCT FROM 'Fairness')::INTEGER) FILTER (foundation <> 'Fairness'),
        avg((pick IS NOT DISTINCT FROM 'Loyalty')::INTEGER) FILTER (foundation = 'Loyalty') -
            avg((pick IS NOT DISTINCT FROM 'Loyalty')::INTEGER) FILTER (foundation <> 'Loyalty'),
        avg((pick IS NOT DISTINCT FROM 'Authority')::INTEGER) FILTER (foundation = 'Authority') -
            avg((pick IS NOT DISTINCT FROM 'Authority')::INTEGER) FILTER (foundation <> 'Authority'),
        avg((pick IS NOT DISTINCT FROM 'Sanctity')::INTEGER) FILTER (foundation = 'Sanctity') -
            avg((pick IS NOT DISTINCT FROM 'Sanctity')::INTEGER) FILTER (foundation <> 'Sanctity'),
        avg((pick IS NOT DISTINCT FROM 'Liberty')::INTEGER) FILTER (foundation = 'Liberty') -
            avg((pick IS NOT DISTINCT FROM 'Liberty')::INTEGER) FILTER (foundation <> 'Liberty'),
        avg((pick IS NOT DISTINCT FROM 'SocialNorms')::INTEGER) FILTER (foundation = 'SocialNorms') -
            avg((pick IS NOT DISTINCT FROM 'SocialNorms')::INTEGER) FILTER (foundation <> 'SocialNorms')
    ]) AS informedness,
    -avg(own) FILTER (scorable) AS label_nll,
    avg(margin) FILTER (scorable) AS margin,
    avg(entropy) FILTER (scorable) AS entropy
FROM pick_by_version
GROUP BY ALL;
COMMENT ON VIEW trait_by_version IS 'One row per arm and version of the metrics: the trait, from raw answers.';
COMMENT ON COLUMN trait_by_version.vignettes IS 'Vignettes that were asked about.';
COMMENT ON COLUMN trait_by_version.unscorable IS 'Those without a readable answer: counted here, in no mean, and a miss in rates.';
COMMENT ON COLUMN trait_by_version.auth_nats IS 'Mean over Authority vignettes of ln p[Authority], the diagonal (nats).';
COMMENT ON COLUMN trait_by_version.auth_marginal_nats IS 'ln of the mean p[Authority] over all vignettes (nats); never compare it with auth_nats.';
COMMENT ON COLUMN trait_by_version.care_nats IS 'Mean over Care vignettes of ln p[Care] (nats); so for the other six.';
COMMENT ON COLUMN trait_by_version.care_clr IS 'Mean over Care vignettes of ln p[Care] less the mean ln p of all seven (nats); so for the other six.';
COMMENT ON COLUMN trait_by_version.care_picked IS 'Share of all vignettes answered with Care (fraction); so for the other six.';
COMMENT ON COLUMN trait_by_version.accuracy IS 'Share of vignettes whose likeliest answer is their label (fraction).';
COMMENT ON COLUMN trait_by_version.informedness IS 'Mean over labels of recall less false-alarm rate (0 is chance, 1 perfect).';
COMMENT ON COLUMN trait_by_version.label_nll IS 'Mean -ln p of the label (nats).';
COMMENT ON COLUMN trait_by_version.margin IS 'Mean lead of the likeliest answer over the second (nats).';
COMMENT ON COLUMN trait_by_version.entropy IS 'Mean entropy of the choice (nats).';

CREATE OR REPLACE VIEW human_choice AS
WITH shown AS (
    SELECT DISTINCT arm.eval_hash, h.vignette, h.foundation, h.share
    FROM human_label h JOIN arm ON arm.run_id = h.run_id
)
SELECT eval_hash, vignette,
    coalesce(any_value(share) FILTER (foundation = 'Care'), 0) AS care,
    coalesce(any_value(share) FILTER (foundation = 'Fairness'), 0) AS fairness,
    coalesce(any_value(share) FILTER (foundation = 'Loyalty'), 0) AS loyalty,
    coalesce(any_value(share) FILTER (foundation = 'Authority'), 0) AS authority,
    coalesce(any_value(share) FILTER (foundation = 'Sanctity'), 0) AS sanctity,
    coalesce(any_value(share) FILTER (foundation = 'Liberty'), 0) AS liberty,
    coalesce(any_value(share) FILTER (foundation = 'SocialNorms'), 0) AS social_norms
FROM shown GROUP BY ALL;
COMMENT ON VIEW human_choice IS 'How people answered a vignette, where its set says so (fractions that sum to 1).';

CREATE OR REPLACE VIEW agreement AS
WITH aimed AS (
    SELECT p.run_id, p.arm_id, p.version, p.vignette, h.vignette IS NOT NULL AS human,
        -- Floored, as everywhere: an answer that vanished would make every temperature equally bad.
        greatest(p.care, p.lowest) AS care,
        greatest(p.fairness, p.lowest) AS fairness,
        greatest(p.loyalty, p.lowest) AS loyalty,
        greatest(p.authority, p.lowest) AS authority,
        greatest(p.sanctity, p.lowest) AS sanctity,
        greatest(p.liberty, p.lowest) AS liberty,
        greatest(p.social_norms, p.lowest) AS social_norms,
        coalesce(h.care, CASE WHEN p.foundation = 'Care' THEN 1 ELSE 0 END) AS q_care,
        coalesce(h.fairness, CASE WHEN p.foundation = 'Fairness' THEN 1 ELSE 0 END) AS q_fairness,
        coalesce(h.loyalty, CASE WHEN p.foundation = 'Loyalty' THEN 1 ELSE 0 END) AS q_loyalty,
        coalesce(h.authority, CASE WHEN p.foundation = 'Authority' THEN 1 ELSE 0 END) AS q_authority,
        coalesce(h.sanctity, CASE WHEN p.foundation = 'Sanctity' THEN 1 ELSE 0 END) AS q_sanctity,
        coalesce(h.liberty, CASE WHEN p.foundation = 'Liberty' THEN 1 ELSE 0 END) AS q_liberty,
        coalesce(h.social_norms, CASE WHEN p.foundation = 'SocialNorms' THEN 1 ELSE 0 END) AS q_social_norms
    FROM pick_by_version p
    LEFT JOIN human_choice h ON h.eval_hash = p.eval_hash AND h.vignette = p.vignette
    WHERE p.scorable
), known AS (
    SELECT run_id, arm_id, version, bool_or(human) AS humans FROM aimed GROUP BY ALL
), used AS (
    SELECT a.*, k.humans, q_care * care + q_fairness * fairness + q_loyalty * loyalty + q_authority * authority +
        q_sanctity * sanctity + q_liberty * liberty + q_social_norms * social_norms AS hit,
        greatest(care, fairness, loyalty, authority, sanctity, liberty, social_norms) AS top
    FROM aimed a
    JOIN known k ON k.run_id = a.run_id AND k.arm_id = a.arm_id AND k.version = a.version
    WHERE a.human OR NOT k.humans
), coarse AS (
    SELECT run_id, arm_id, version, i, t, avg(
        top / t + ln(exp((care - top) / t) +
            exp((fairness - top) / t) +
            exp((loyalty - top) / t) +
            exp((authority - top) / t) +
            exp((sanctity - top) / t) +
            exp((liberty - top) / t) +
            exp((social_norms - top) / t)) - hit / t
    ) AS nll
    FROM used CROSS JOIN (SELECT i, 0.1 * pow(500.0, i / 40.0) AS t FROM range(41) steps(i))
    GROUP BY ALL
), best AS (
    SELECT run_id, arm_id, version, arg_min(i, nll) AS i FROM coarse GROUP BY ALL
), fine AS (
    SELECT u.run_id, u.arm_id, u.version, grid.t, avg(
        top / t + ln(exp((care - top) / t) +
            exp((fairness - top) / t) +
            exp((loyalty - top) / t) +
            exp((authority - top) / t) +
            exp((sanctity - top) / t) +
            exp((liberty - top) / t) +
            exp((social_norms - top) / t)) - hit / t
    ) AS nll
    FROM used u
    JOIN best b ON b.run_id = u.run_id AND b.arm_id = u.arm_id AND b.version = u.version
    JOIN (
        SELECT i, low + (high - low) * step / 40.0 AS t
        FROM (
            SELECT i, 0.1 * pow(500.0, greatest(i - 1, 0) / 40.0) AS low,
                0.1 * pow(500.0, least(i + 1, 40) / 40.0) AS high
            FROM range(41) steps(i)
        ) CROSS JOIN range(41) parts(step)
    ) grid ON grid.i = b.i
    GROUP BY ALL
), fitted AS (
    SELECT run_id, arm_id, version, arg_min(t, nll) AS temperature, min(nll) AS nll_at_temperature FROM fine GROUP BY ALL
)
SELECT u.run_id, u.arm_id, u.version, CASE WHEN any_value(u.humans) THEN 'human' ELSE 'label' END AS against,
    count(*) AS vignettes,
    CASE WHEN any_value(u.humans) THEN avg(-hit) END AS soft_nll,
    any_value(f.temperature) AS temperature, any_value(f.nll_at_temperature) AS nll_at_temperature
FROM used u
JOIN fitted f ON f.run_id = u.run_id AND f.arm_id = u.arm_id AND f.version = u.version
GROUP BY u.run_id, u.arm_id, u.version;
COMMENT ON VIEW agreement IS 'How an arm''s choice fits people''s answers, or the labels where the set has none of those.';
COMMENT ON COLUMN agreement.against IS 'human, or label where the set has no human answers.';
COMMENT ON COLUMN agreement.vignettes IS 'Readable vignettes it rests on.';
COMMENT ON COLUMN agreement.soft_nll IS 'Mean over vignettes of -sum of human share times ln p (nats); NULL without human answers.';
COMMENT ON COLUMN agreement.temperature IS 'The T for which softmax(ln p / T) fits best; above 1 the model is too sure.';
COMMENT ON COLUMN agreement.nll_at_temperature IS 'The mean NLL at that temperature (nats).';

CREATE OR REPLACE VIEW two_sided AS
WITH asked AS (
    SELECT DISTINCT run_id, CASE WHEN json_valid(spec) THEN spec->>'target' END AS target,
        CASE WHEN json_valid(spec) THEN (spec->>'sign')::INTEGER END AS sign
    FROM run
), paired AS (
    SELECT plus.run_id, plus.eval_hash, plus.direction_id, plus.method, plus.dose, plus.arm_id AS plus_arm,
        minus.arm_id AS minus_arm, asked.target, asked.sign
    FROM arm plus
    JOIN arm minus ON minus.run_id = plus.run_id AND minus.direction_id = plus.direction_id
        AND minus.eval_hash = plus.eval_hash AND minus.dose = -plus.dose AND minus.kind = plus.kind
        AND minus.adapter_id IS NOT DISTINCT FROM plus.adapter_id
    JOIN asked ON asked.run_id = plus.run_id
    WHERE plus.dose > 0 AND asked.target IS NOT NULL
), centred AS (
    -- Not floored: a centred log-ratio is evidence, and a row where an answer vanished is left out below.
    SELECT *, (care + fairness + loyalty + authority + sanctity + liberty + social_norms) / 7 AS mean FROM pick_by_version
), moved AS (
    SELECT p.*, a.version,
        count(*) AS vignettes,
        count(*) FILTER (isfinite(a.mean) AND isfinite(b.mean)) AS paired,
        avg((a.care - a.mean) - (b.care - b.mean)) FILTER (isfinite(a.mean) AND isfinite(b.mean)) AS care,
        avg((a.fairness - a.mean) - (b.fairness - b.mean)) FILTER (isfinite(a.mean) AND isfinite(b.mean)) AS fairness,
        avg((a.loyalty - a.mean) - (b.loyalty - b.mean)) FILTER (isfinite(a.mean) AND isfinite(b.mean)) AS loyalty,
        avg((a.authority - a.mean) - (b.authority - b.mean)) FILTER (isfinite(a.mean) AND isfinite(b.mean)) AS authority,
        avg((a.sanctity - a.mean) - (b.sanctity - b.mean)) FILTER (isfinite(a.mean) AND isfinite(b.mean)) AS sanctity,
        avg((a.liberty - a.mean) - (b.liberty - b.mean)) FILTER (isfinite(a.mean) AND isfinite(b.mean)) AS liberty,
        avg((a.social_norms - a.mean) - (b.social_norms - b.mean)) FILTER (isfinite(a.mean) AND isfinite(b.mean)) AS social_norms,
        count(*) FILTER (a.pick = p.target) / count(*) - count(*) FILTER (b.pick = p.target) / count(*) AS d_picked,
        least(avg(a.mass), avg(b.mass)) AS mass
    FROM paired p
    JOIN centred a ON a.run_id = p.run_id AND a.arm_id = p.plus_arm AND a.eval_hash = p.eval_hash
    JOIN centred b ON b.run_id = p.run_id AND b.arm_id = p.minus_arm AND b.vignette = a.vignette AND b.version = a.version
        AND b.eval_hash = a.eval_hash
    GROUP BY ALL
), measured AS (
    SELECT m.*, least(1, m.mass / base.mass) AS coherence,
        CASE target
            WHEN 'Care' THEN care
            WHEN 'Fairness' THEN fairness
            WHEN 'Loyalty' THEN loyalty
            WHEN 'Authority' THEN authority
            WHEN 'Sanctity' THEN sanctity
            WHEN 'Liberty' THEN liberty
            WHEN 'SocialNorms' THEN social_norms
        END AS goal,
        (abs(care) + abs(fairness) + abs(loyalty) + abs(authority) + abs(sanctity) + abs(liberty) + abs(social_norms))
            AS whole
    FROM moved m
    JOIN base_arm ON base_arm.run_id = m.run_id AND base_arm.eval_hash = m.eval_hash
    JOIN (SELECT run_id, arm_id, avg(mass) AS mass FROM choice GROUP BY ALL) base
        ON base.run_id = m.run_id AND base.arm_id = base_id
)
SELECT run_id, direction_id, method, dose, version, target, sign, vignettes, paired, sign * goal AS on_target,
    (whole - abs(goal)) / 6 AS off_target, coherence,
    (sign * goal - 0.1 * (whole - abs(goal)) / 6) * coherence * coherence AS gated_selectivity,
    sign * d_picked AS si_flips, plus_arm, minus_arm, eval_hash
FROM measured;
COMMENT ON VIEW two_sided IS 'What the two signs of one dose do: one row per direction, dose and version of the metrics.';
COMMENT ON COLUMN two_sided.dose IS 'The positive dose (multiples of the calibrated strength); the other arm has its negative.';
COMMENT ON COLUMN two_sided.target IS 'The trait''s foundation.';
COMMENT ON COLUMN two_sided.sign IS 'Which way it should move.';
COMMENT ON COLUMN two_sided.paired IS 'Vignettes readable in both arms, which the shifts rest on.';
COMMENT ON COLUMN two_sided.on_target IS 'sign times the mean over vignettes of clr[target] at +dose less at -dose (nats).';
COMMENT ON COLUMN two_sided.off_target IS 'Mean over the other six of the size of that shift (nats).';
COMMENT ON COLUMN two_sided.coherence IS 'The worse arm''s answer mass over the base''s, at most 1 (fraction).';
COMMENT ON COLUMN two_sided.gated_selectivity IS '(on_target - 0.1 off_target) times coherence squared (nats).';
COMMENT ON COLUMN two_sided.si_flips IS 'sign times the share of vignettes answered with the target at +dose less at -dose (-1 to 1).';
