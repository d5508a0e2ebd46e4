-- The channels of coherence, one row per arm: what the forced answer, the free answer and the free texts say of it. Gates
-- name the channels they ask for (setting gate.channels).

CREATE OR REPLACE VIEW coherence AS
WITH forced AS (
    SELECT c.run_id, c.arm_id, avg(c.mass) AS p_ans_any,
        count(*) FILTER (NOT c.scorable) / count(*) AS frac_unscorable,
        avg(c.prefill_nll) FILTER (isfinite(c.prefill_nll)) AS prefill_nll,
        count(*) AS vignettes
    FROM choice c GROUP BY ALL
), chosen AS (
    SELECT run_id, arm_id, margin, entropy FROM trait_by_version WHERE version = 'v1'
), free AS (
    SELECT run_id, arm_id, count(*) AS json_answers, count(*) FILTER (valid) / count(*) AS json_valid
    FROM free_answer GROUP BY ALL
), written AS (
    SELECT run_id, arm_id, count(*) AS texts,
        median(distinct_tail) AS distinct_tail,
        median(compression) AS compression,
        median(perplexity) AS perplexity,
        median(tail_perplexity) AS tail_perplexity,
        count(*) FILTER (NOT ended) / count(*) AS unended
    FROM completion WHERE arm_id IS NOT NULL GROUP BY ALL
), token AS (
    SELECT run_id, arm_id, unnest(token_kl) AS kl FROM completion WHERE arm_id IS NOT NULL
), divergence AS (
    SELECT run_id, arm_id, count(*) AS kl_tokens, avg(kl) AS kl_mean, sqrt(avg(kl * kl)) AS kl_rmse,
        quantile_cont(kl, 0.95) AS kl_p95, max(kl) AS kl_max
    FROM token GROUP BY ALL
)
SELECT arm.run_id, arm.arm_id, arm.eval_hash, arm.kind, arm.method, arm.dose, forced.vignettes, forced.p_ans_any,
    forced.p_ans_any / base.p_ans_any AS coherence, forced.prefill_nll, exp(forced.prefill_nll) AS ppx_json,
    forced.frac_unscorable, chosen.margin, chosen.entropy, free.json_answers, free.json_valid, written.texts,
    written.distinct_tail, written.compression, written.perplexity, written.tail_perplexity, written.unended,
    divergence.kl_tokens, divergence.kl_mean, divergence.kl_rmse, divergence.kl_p95, divergence.kl_max
FROM arm
JOIN forced ON forced.run_id = arm.run_id AND forced.arm_id = arm.arm_id
LEFT JOIN chosen ON chosen.run_id = arm.run_id AND chosen.arm_id = arm.arm_id
LEFT JOIN base_arm ON base_arm.run_id = arm.run_id AND base_arm.eval_hash = arm.eval_hash
LEFT JOIN forced base ON base.run_id = arm.run_id AND base.arm_id = base_id
LEFT JOIN free ON free.run_id = arm.run_id AND free.arm_id = arm.arm_id
LEFT JOIN written ON written.run_id = arm.run_id AND written.arm_id = arm.arm_id
LEFT JOIN divergence ON divergence.run_id = arm.run_id AND divergence.arm_id = arm.arm_id;
COMMENT ON VIEW coherence IS 'Every channel of coherence, one row per arm; what was not measured is NULL.';
COMMENT ON COLUMN coherence.vignettes IS 'Vignettes that were asked about.';
COMMENT ON COLUMN coherence.p_ans_any IS 'Mean full-vocabulary probability of the seven answers (fraction); an unreadable row counts as 0.';
COMMENT ON COLUMN coherence.coherence IS 'p_ans_any over that of the base of the same run and eval hash (fraction; 1 is the base).';
COMMENT ON COLUMN coherence.prefill_nll IS 'Mean NLL of the forced scaffold (nats per token); NULL where the instrument has none.';
COMMENT ON COLUMN coherence.ppx_json IS 'Its exponential: perplexity of the forced scaffold.';
COMMENT ON COLUMN coherence.frac_unscorable IS 'Share of vignettes without a readable answer (fraction).';
COMMENT ON COLUMN coherence.margin IS 'Mean lead of the likeliest answer over the second (nats).';
COMMENT ON COLUMN coherence.entropy IS 'Mean entropy of the choice (nats; at most ln 7).';
COMMENT ON COLUMN coherence.json_answers IS 'Free answers that were written.';
COMMENT ON COLUMN coherence.json_valid IS 'Share of them that parse strictly as what was asked for (fraction).';
COMMENT ON COLUMN coherence.texts IS 'Fixed free generations of the arm.';
COMMENT ON COLUMN coherence.distinct_tail IS 'Median over them of the smallest share of distinct trigrams in a window (fraction; loops are low).';
COMMENT ON COLUMN coherence.compression IS 'Median of the largest compression ratio of a window (ratio; loops are high).';
COMMENT ON COLUMN coherence.perplexity IS 'Median perplexity under the untouched base.';
COMMENT ON COLUMN coherence.tail_perplexity IS 'The same over each text''s last quarter.';
COMMENT ON COLUMN coherence.unended IS 'Share of texts that ran into the cap (fraction).';
COMMENT ON COLUMN coherence.kl_tokens IS 'Generated tokens that the divergence rests on (tokens).';
COMMENT ON COLUMN coherence.kl_mean IS 'Mean KL(arm || base) over those tokens (nats per token).';
COMMENT ON COLUMN coherence.kl_rmse IS 'Root of its mean square (nats per token); short loops show here first.';
COMMENT ON COLUMN coherence.kl_p95 IS 'Its 95th percentile (nats per token).';
COMMENT ON COLUMN coherence.kl_max IS 'Its largest (nats per token).';
