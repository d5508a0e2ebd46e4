-- What every metric is, and all of them in one long view.

CREATE OR REPLACE VIEW metric_definition AS
FROM (VALUES
    ('auth_nats', 'nats', 'mean over Authority vignettes of ln p[Authority]',
        'the diagonal: what published runs of steer, heal and loop claim 1 to 3 nats of', 'trait_by_version'),
    ('auth_marginal_nats', 'nats', 'ln of the mean over all vignettes of p[Authority]',
        'the marginal: what published runs tabulate (base -2.354); never to be compared with auth_nats', 'trait_by_version'),
    ('care_nats', 'nats', 'mean over Care vignettes of ln p[Care]',
        'the diagonal of one foundation; vignettes and labels after Clifford 2015', 'trait_by_version'),
    ('fairness_nats', 'nats', 'mean over Fairness vignettes of ln p[Fairness]',
        'the diagonal of one foundation; vignettes and labels after Clifford 2015', 'trait_by_version'),
    ('loyalty_nats', 'nats', 'mean over Loyalty vignettes of ln p[Loyalty]',
        'the diagonal of one foundation; vignettes and labels after Clifford 2015', 'trait_by_version'),
    ('authority_nats', 'nats', 'mean over Authority vignettes of ln p[Authority]',
        'the diagonal of one foundation; vignettes and labels after Clifford 2015', 'trait_by_version'),
    ('sanctity_nats', 'nats', 'mean over Sanctity vignettes of ln p[Sanctity]',
        'the diagonal of one foundation; vignettes and labels after Clifford 2015', 'trait_by_version'),
    ('liberty_nats', 'nats', 'mean over Liberty vignettes of ln p[Liberty]',
        'the diagonal of one foundation; vignettes and labels after Clifford 2015', 'trait_by_version'),
    ('social_norms_nats', 'nats', 'mean over SocialNorms vignettes of ln p[SocialNorms]',
        'the diagonal of one foundation; vignettes and labels after Clifford 2015', 'trait_by_version'),
    ('care_clr', 'nats', 'mean over Care vignettes of ln p[Care] less the mean of the seven ln p',
        'centred log-ratio, Aitchison 1982; per-row clr of moralmaps', 'trait_by_version'),
    ('fairness_clr', 'nats', 'mean over Fairness vignettes of ln p[Fairness] less the mean of the seven ln p',
        'centred log-ratio, Aitchison 1982; per-row clr of moralmaps', 'trait_by_version'),
    ('loyalty_clr', 'nats', 'mean over Loyalty vignettes of ln p[Loyalty] less the mean of the seven ln p',
        'centred log-ratio, Aitchison 1982; per-row clr of moralmaps', 'trait_by_version'),
    ('authority_clr', 'nats', 'mean over Authority vignettes of ln p[Authority] less the mean of the seven ln p',
        'centred log-ratio, Aitchison 1982; per-row clr of moralmaps', 'trait_by_version'),
    ('sanctity_clr', 'nats', 'mean over Sanctity vignettes of ln p[Sanctity] less the mean of the seven ln p',
        'centred log-ratio, Aitchison 1982; per-row clr of moralmaps', 'trait_by_version'),
    ('liberty_clr', 'nats', 'mean over Liberty vignettes of ln p[Liberty] less the mean of the seven ln p',
        'centred log-ratio, Aitchison 1982; per-row clr of moralmaps', 'trait_by_version'),
    ('social_norms_clr', 'nats', 'mean over SocialNorms vignettes of ln p[SocialNorms] less the mean of the seven ln p',
        'centred log-ratio, Aitchison 1982; per-row clr of moralmaps', 'trait_by_version'),
    ('care_picked', 'fraction', 'share of all vignettes whose likeliest answer is Care',
        'pick rate, the ingredient of si_flips in moralmaps', 'trait_by_version'),
    ('fairness_picked', 'fraction', 'share of all vignettes whose likeliest answer is Fairness',
        'pick rate, the ingredient of si_flips in moralmaps', 'trait_by_version'),
    ('loyalty_picked', 'fraction', 'share of all vignettes whose likeliest answer is Loyalty',
        'pick rate, the ingredient of si_flips in moralmaps', 'trait_by_version'),
    ('authority_picked', 'fraction', 'share of all vignettes whose likeliest answer is Authority',
        'pick rate, the ingredient of si_flips in moralmaps', 'trait_by_version'),
    ('sanctity_picked', 'fraction', 'share of all vignettes whose likeliest answer is Sanctity',
        'pick rate, the ingredient of si_flips in moralmaps', 'trait_by_version'),
    ('liberty_picked', 'fraction', 'share of all vignettes whose likeliest answer is Liberty',
        'pick rate, the ingredient of si_flips in moralmaps', 'trait_by_version'),
    ('social_norms_picked', 'fraction', 'share of all vignettes whose likeliest answer is SocialNorms',
        'pick rate, the ingredient of si_flips in moralmaps', 'trait_by_version'),
    ('accuracy', 'fraction', 'share of vignettes whose likeliest answer is their label',
        'top1_acc of moralmaps', 'trait_by_version'),
    ('informedness', '-1 to 1', 'mean over labels f of share(pick = f where label = f) less share(pick = f where label is not f)',
        'Youdens J, macro one-vs-rest: Powers 2011', 'trait_by_version'),
    ('label_nll', 'nats', 'mean of -ln p[label]',
        'cross-entropy against hard labels', 'trait_by_version'),
    ('margin', 'nats', 'mean over vignettes of the largest less the second largest ln p',
        'margin of moralmaps', 'trait_by_version'),
    ('entropy', 'nats', 'mean over vignettes of -sum of p ln p',
        'Shannon 1948; ln 7 is no choice at all', 'trait_by_version'),
    ('soft_nll', 'nats', 'mean over vignettes of -sum over answers of human share times ln p',
        'mean_nll of moralmaps, with our floor', 'agreement'),
    ('temperature', 'ratio', 'the T from 0.1 to 50 with the lowest mean NLL of softmax(ln p / T) against peoples answers, else labels',
        'temperature scaling: Guo 2017, 1706.04599; T of moralmaps, same search', 'agreement'),
    ('nll_at_temperature', 'nats', 'that lowest mean NLL',
        'mean_nll_T of moralmaps', 'agreement'),
    ('on_target', 'nats', 'sign times the mean over vignettes of clr[target] at +dose less at -dose',
        'on of gated_selectivity in moralmaps, with the target as the one intended foundation', 'two_sided'),
    ('off_target', 'nats', 'mean over the other six of the size of their mean clr shift',
        'off of gated_selectivity in moralmaps', 'two_sided'),
    ('gated_selectivity', 'nats', '(on_target - 0.1 off_target) times min(1, worse arms p_ans_any over the bases) squared',
        'gated_selectivity of moralmaps', 'two_sided'),
    ('si_flips', '-1 to 1', 'sign times (share of picks that are the target at +dose less at -dose)',
        'si_flips of moralmaps', 'two_sided'),
    ('p_ans_any', 'fraction', 'mean over vignettes and orders of the full-vocabulary probability of the seven answers; unreadable rows count 0',
        'pmass_allowed of moralmaps', 'coherence'),
    ('coherence', 'fraction', 'p_ans_any over that of the base of the same eval hash',
        'relative answer mass', 'coherence'),
    ('prefill_nll', 'nats per token', 'mean NLL of the forced scaffolds tokens',
        'nll_prefill of moralmaps', 'coherence'),
    ('ppx_json', 'ratio', 'exp(prefill_nll)',
        'ppx_json of moralmaps', 'coherence'),
    ('frac_unscorable', 'fraction', 'share of vignettes with a NaN among the seven ln p',
        'frac_unscorable of moralmaps', 'coherence'),
    ('json_valid', 'fraction', 'share of greedy free answers that parse strictly as the JSON asked for',
        'planned in published work, never built there', 'coherence'),
    ('distinct_tail', 'fraction', 'median over texts of the smallest share of distinct word trigrams in a window of 40',
        'distinct-n, Li 2016, 1510.03055, on a sliding window', 'coherence'),
    ('compression', 'ratio', 'median over texts of the largest ratio of length to zlib length in a window of 240 characters',
        'loops of any period compress', 'coherence'),
    ('perplexity', 'ratio', 'median over texts of exp(mean NLL under the untouched base)',
        'adapter_ppl of published runs', 'coherence'),
    ('tail_perplexity', 'ratio', 'the same over each texts last quarter',
        'filter v3 of published runs', 'coherence'),
    ('unended', 'fraction', 'share of texts that ran into the cap',
        '', 'coherence'),
    ('kl_mean', 'nats per token', 'mean over generated tokens of KL(arm || base)',
        'iso-KL calibration of steering-lite', 'coherence'),
    ('kl_rmse', 'nats per token', 'root of the mean square of it',
        'aggregation of published heal runs: a short loop hides in a mean', 'coherence'),
    ('kl_p95', 'nats per token', 'its 95th percentile',
        'what a dose is calibrated to', 'coherence'),
    ('kl_max', 'nats per token', 'its largest',
        '', 'coherence')
) AS definitions(metric, unit, formula, source, view);
COMMENT ON VIEW metric_definition IS 'Every metric: what it is, in which unit, after whom, and in which view it stands as a column.';
COMMENT ON COLUMN metric_definition.formula IS 'p is the choice normalised over the seven answers, mean over orders first; floors and label bias: metric_version.';
COMMENT ON COLUMN metric_definition.source IS 'Where the definition comes from; empty where it is only a count.';
COMMENT ON COLUMN metric_definition.view IS 'View that has it as a column.';

CREATE OR REPLACE VIEW metric AS
WITH trait_long AS (
    UNPIVOT (SELECT * EXCLUDE (eval_hash, vignettes, unscorable) FROM trait_by_version)
    ON COLUMNS(* EXCLUDE (run_id, arm_id, version)) INTO NAME metric VALUE value
), agreement_long AS (
    UNPIVOT (SELECT * EXCLUDE (against, vignettes) FROM agreement)
    ON COLUMNS(* EXCLUDE (run_id, arm_id, version)) INTO NAME metric VALUE value
), coherence_long AS (
    UNPIVOT (
        SELECT run_id, arm_id, 'any' AS version,
            COLUMNS(* EXCLUDE (run_id, arm_id, eval_hash, kind, method, dose, vignettes, margin, entropy, json_answers, texts,
                kl_tokens))
        FROM coherence
    )
    ON COLUMNS(* EXCLUDE (run_id, arm_id, version)) INTO NAME metric VALUE value
), two_sided_long AS (
    UNPIVOT (
        SELECT run_id, plus_arm AS arm_id, version, on_target, off_target, gated_selectivity, si_flips FROM two_sided
    )
    ON COLUMNS(* EXCLUDE (run_id, arm_id, version)) INTO NAME metric VALUE value
)
SELECT run_id, arm_id, version, metric, value FROM trait_long
UNION ALL BY NAME SELECT run_id, arm_id, version, metric, value FROM agreement_long
UNION ALL BY NAME SELECT run_id, arm_id, version, metric, value FROM coherence_long
UNION ALL BY NAME SELECT run_id, arm_id, version, metric, value FROM two_sided_long;
COMMENT ON VIEW metric IS 'Every metric of every arm, one row each; what was not measured has no row.';
COMMENT ON COLUMN metric.version IS 'Version of the metrics, or any where versions do not differ.';
COMMENT ON COLUMN metric.metric IS 'Its name; metric_definition says what it is.';
COMMENT ON COLUMN metric.value IS 'In the metric''s own unit; NaN is a signal.';
