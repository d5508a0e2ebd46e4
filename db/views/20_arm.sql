-- What an arm says, and how far it moved from its base. A diagonal is floored at log 1e-6, so that one vanished answer
-- cannot carry a mean.

CREATE OR REPLACE VIEW base_arm AS
SELECT run_id, eval_hash, min(arm_id) AS base_id FROM arm WHERE kind = 'base' GROUP BY ALL;
COMMENT ON VIEW base_arm IS 'The unsteered arm of each run and eval hash: the only one its other arms may be compared with.';

CREATE OR REPLACE VIEW evaluation AS
WITH asked AS (
    SELECT run_id, model, fingerprint, dtype, CASE WHEN json_valid(spec) THEN spec::JSON ELSE '{}'::JSON END AS spec FROM run
)
SELECT arm.eval_hash,
    any_value(spec->>'vignettes_hash') AS vignettes_hash,
    any_value((spec->>'vignettes')::BIGINT) AS vignettes,
    any_value(arm.instrument) AS instrument,
    any_value(spec->>'instrument_text') AS instrument_text,
    any_value(spec->>'instrument_config') AS instrument_config,
    any_value(asked.model) AS model, any_value(asked.fingerprint) AS fingerprint, any_value(asked.dtype) AS dtype
FROM arm
-- Only a run of gate 1 says what is shown; the students of later gates are scored as it scored them.
JOIN asked ON asked.run_id = arm.run_id AND (spec->>'vignettes_hash') IS NOT NULL
GROUP BY arm.eval_hash;
COMMENT ON VIEW evaluation IS 'What each eval hash stands for: arms are comparable where all of it is the same.';
COMMENT ON COLUMN evaluation.vignettes_hash IS 'Hash of the vignettes'' ids, labels and texts.';
COMMENT ON COLUMN evaluation.vignettes IS 'How many were scored.';
COMMENT ON COLUMN evaluation.instrument_text IS 'The instrument''s hash of what it shows the model.';
COMMENT ON COLUMN evaluation.instrument_config IS 'The instrument''s settings as JSON.';
COMMENT ON COLUMN evaluation.model IS 'The model''s name; a student has that of the model it was made from.';
COMMENT ON COLUMN evaluation.fingerprint IS 'Hash of model config, dtype and sampled weights.';
COMMENT ON COLUMN evaluation.dtype IS 'The weights'' type.';

CREATE OR REPLACE VIEW arm_foundation AS
SELECT c.run_id, c.arm_id, c.eval_hash, arm.kind, arm.method, arm.dose, arm.strength, c.foundation,
    count(*) AS vignettes,
    count(*) FILTER (NOT scorable) AS unscorable,
    avg(greatest(own, ln(1e-6))) FILTER (scorable) AS nats,
    avg(greatest(own_uncorrected, ln(1e-6))) FILTER (NOT isnan(own_uncorrected)) AS nats_uncorrected,
    count(*) FILTER (pick = foundation) / count(*) AS pick_rate,
    avg(exp(care)) FILTER (scorable) AS p_care,
    avg(exp(fairness)) FILTER (scorable) AS p_fairness,
    avg(exp(loyalty)) FILTER (scorable) AS p_loyalty,
    avg(exp(authority)) FILTER (scorable) AS p_authority,
    avg(exp(sanctity)) FILTER (scorable) AS p_sanctity,
    avg(exp(liberty)) FILTER (scorable) AS p_liberty,
    avg(exp(social_norms)) FILTER (scorable) AS p_social_norms,
    avg(mass) AS mass,
    avg(prefill_nll) FILTER (isfinite(prefill_nll)) AS prefill_nll
FROM choice c
JOIN arm ON arm.run_id = c.run_id AND arm.arm_id = c.arm_id
GROUP BY ALL;
COMMENT ON VIEW arm_foundation IS 'One row per arm and foundation of the vignettes; unscorable ones are counted and left out of means.';
COMMENT ON COLUMN arm_foundation.nats IS 'Mean log p[foundation] over the foundation''s own vignettes: the diagonal (nats).';
COMMENT ON COLUMN arm_foundation.nats_uncorrected IS 'The same without taking the label bias off (nats).';
COMMENT ON COLUMN arm_foundation.pick_rate IS 'Share of these vignettes answered with their own foundation (fraction).';
COMMENT ON COLUMN arm_foundation.p_care IS 'Mean probability of the answer Care on these vignettes (fraction); so for the other six.';
COMMENT ON COLUMN arm_foundation.mass IS 'Mean full-vocabulary probability of the seven answers (fraction).';
COMMENT ON COLUMN arm_foundation.prefill_nll IS 'Mean NLL of the scaffold tokens (nats per token).';

CREATE OR REPLACE VIEW delta AS
SELECT a.run_id, a.arm_id, a.eval_hash, a.foundation,
    avg(greatest(a.own, ln(1e-6)) - greatest(b.own, ln(1e-6))) FILTER (a.scorable AND b.scorable) AS d_nats,
    avg(greatest(a.own_uncorrected, ln(1e-6)) - greatest(b.own_uncorrected, ln(1e-6)))
        FILTER (NOT isnan(a.own_uncorrected) AND NOT isnan(b.own_uncorrected)) AS d_nats_uncorrected,
    count(*) FILTER (a.scorable AND b.scorable) AS paired
FROM choice a
JOIN base_arm ON base_arm.run_id = a.run_id AND base_arm.eval_hash = a.eval_hash
JOIN choice b
    ON b.run_id = a.run_id AND b.arm_id = base_id AND b.vignette = a.vignette AND b.foundation = a.foundation
GROUP BY ALL;
COMMENT ON VIEW delta IS 'Change of each diagonal from the base of the same run and eval hash, paired by vignette (nats).';

CREATE OR REPLACE VIEW trait AS
WITH level AS (
    SELECT run_id, arm_id,
        avg(greatest(own, ln(1e-6))) FILTER (scorable AND foundation = 'Care') AS care_nats,
        avg(greatest(own, ln(1e-6))) FILTER (scorable AND foundation = 'Fairness') AS fairness_nats,
        avg(greatest(own, ln(1e-6))) FILTER (scorable AND foundation = 'Loyalty') AS loyalty_nats,
        avg(greatest(own, ln(1e-6))) FILTER (scorable AND foundation = 'Authority') AS authority_nats,
        avg(greatest(own, ln(1e-6))) FILTER (scorable AND foundation = 'Sanctity') AS sanctity_nats,
        avg(greatest(own, ln(1e-6))) FILTER (scorable AND foundation = 'Liberty') AS liberty_nats,
        avg(greatest(own, ln(1e-6))) FILTER (scorable AND foundation = 'SocialNorms') AS social_norms_nats,
        avg(greatest(own_uncorrected, ln(1e-6))) FILTER (NOT isnan(own_uncorrected) AND foundation = 'Care')
            AS care_nats_uncorrected,
        avg(greatest(own_uncorrected, ln(1e-6))) FILTER (NOT isnan(own_uncorrected) AND foundation = 'Fairness')
            AS fairness_nats_uncorrected,
        avg(greatest(own_uncorrected, ln(1e-6))) FILTER (NOT isnan(own_uncorrected) AND foundation = 'Loyalty')
            AS loyalty_nats_uncorrected,
        avg(greatest(own_uncorrected, ln(1e-6))) FILTER (NOT isnan(own_uncorrected) AND foundation = 'Authority')
            AS authority_nats_uncorrected,
        avg(greatest(own_uncorrected, ln(1e-6))) FILTER (NOT isnan(own_uncorrected) AND foundation = 'Sanctity')
            AS sanctity_nats_uncorrected,
        avg(greatest(own_uncorrected, ln(1e-6))) FILTER (NOT isnan(own_uncorrected) AND foundation = 'Liberty')
            AS liberty_nats_uncorrected,
        avg(greatest(own_uncorrected, ln(1e-6))) FILTER (NOT isnan(own_uncorrected) AND foundation = 'SocialNorms')
            AS social_norms_nats_uncorrected,
        avg(exp(authority)) FILTER (scorable) AS p_authority,
        avg(exp(authority_uncorrected)) FILTER (NOT isnan(authority_uncorrected)) AS p_authority_uncorrected,
        avg(CASE WHEN foundation = 'Authority' THEN exp(authority) ELSE 0 END) FILTER (scorable) AS auth_mass_on,
        avg(mass) AS mass,
        count(*) FILTER (NOT scorable) / count(*) AS frac_unscorable,
        avg(prefill_nll) FILTER (isfinite(prefill_nll)) AS prefill_nll,
        count(*) AS vignettes
    FROM choice GROUP BY ALL
)
SELECT arm.run_id, arm.arm_id, arm.eval_hash, arm.kind, arm.method, arm.direction_id, arm.dose, arm.strength,
    level.authority_nats AS auth_nats, level.authority_nats_uncorrected AS auth_nats_uncorrected,
    greatest(ln(greatest(level.p_authority, 1e-300)), ln(1e-6)) AS auth_marginal,
    greatest(ln(greatest(level.p_authority_uncorrected, 1e-300)), ln(1e-6)) AS auth_marginal_uncorrected,
    level.auth_mass_on, level.p_authority - level.auth_mass_on AS auth_mass_off,
    level.* EXCLUDE (run_id, arm_id, p_authority, p_authority_uncorrected, auth_mass_on),
    level.mass / base.mass AS coherence
FROM arm
JOIN level ON level.run_id = arm.run_id AND level.arm_id = arm.arm_id
LEFT JOIN base_arm ON base_arm.run_id = arm.run_id AND base_arm.eval_hash = arm.eval_hash
LEFT JOIN level base ON base.run_id = arm.run_id AND base.arm_id = base_id;
COMMENT ON VIEW trait IS 'One row per arm: the trait and the coherence, from raw answers.';
COMMENT ON COLUMN trait.auth_nats IS 'Headline: mean over Authority vignettes of log p[Authority], the diagonal (nats).';
COMMENT ON COLUMN trait.auth_marginal IS 'log of the mean p[Authority] over all vignettes (nats); never compare it with auth_nats.';
COMMENT ON COLUMN trait.auth_mass_on IS 'Part of the mean p[Authority] that Authority vignettes contribute (fraction).';
COMMENT ON COLUMN trait.auth_mass_off IS 'Part of the mean p[Authority] that all other vignettes contribute (fraction).';
COMMENT ON COLUMN trait.mass IS 'Mean full-vocabulary probability of the seven answers, p_ans_any (fraction).';
COMMENT ON COLUMN trait.coherence IS 'mass over that of the base of the same run and eval hash (fraction; 1 is the base).';
COMMENT ON COLUMN trait.frac_unscorable IS 'Share of vignettes without a readable answer (fraction).';
