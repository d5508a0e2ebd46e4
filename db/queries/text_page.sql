-- What did the model write, a page at a time, with what every check says of it? ($run: a prefix; $writer: a role or kind of arm; $kept: kept, dropped or undecided; $check: one that drops it; $prompt; $words: in the text; $completion: a prefix; NULL for all. $sort: prompt, dose, perplexity, kl or gain, $limit: 20, $skip: 0)
WITH said AS (
    SELECT run_id, completion_id, bool_and(keep) AS kept,
        coalesce(list(name ORDER BY name) FILTER (NOT keep), []) AS dropped_by
    FROM decision WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') GROUP BY ALL
), listed AS (
    SELECT c.run_id, c.completion_id, c.prompt_id, c.dose, c.perplexity, c.text, said.kept, said.dropped_by, text_gain.gain,
        CASE WHEN coalesce(c.role, 'greedy') = 'greedy' THEN coalesce(arm.kind, 'greedy') ELSE c.role END AS writer,
        list_aggregate(c.token_kl, 'quantile_cont', 0.95) AS kl_p95
    FROM completion c
    LEFT JOIN arm ON arm.run_id = c.run_id AND arm.arm_id = c.arm_id
    LEFT JOIN said ON said.run_id = c.run_id AND said.completion_id = c.completion_id
    LEFT JOIN text_gain ON text_gain.run_id = c.run_id AND text_gain.completion_id = c.completion_id
    WHERE c.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
        AND c.completion_id BETWEEN coalesce($completion, '') AND concat($completion, '~')
        AND ($prompt IS NULL OR c.prompt_id = $prompt) AND ($words IS NULL OR contains(lower(c.text), lower($words)))
), chosen AS (
    SELECT * EXCLUDE (text), count(*) OVER () AS found,
        row_number() OVER (ORDER BY
            CASE coalesce($sort, 'prompt') WHEN 'dose' THEN dose WHEN 'perplexity' THEN -perplexity WHEN 'kl' THEN -kl_p95
                WHEN 'gain' THEN -gain END NULLS LAST,
            run_id, prompt_id, dose, writer, completion_id) AS place
    FROM listed
    WHERE ($writer IS NULL OR writer = $writer) AND ($check IS NULL OR list_contains(dropped_by, $check))
        AND ($kept IS NULL OR CASE WHEN kept THEN 'kept' WHEN NOT kept THEN 'dropped' ELSE 'undecided' END = $kept)
    ORDER BY place LIMIT coalesce($limit::INTEGER, 20) OFFSET coalesce($skip::INTEGER, 0)
), decided AS (
    SELECT d.run_id, d.completion_id, list(struct_pack(name := d.name, value := d.value, threshold := d.threshold,
        direction := d.direction, keep := d.keep, reason := d.reason, start := d.start, stop := d.stop) ORDER BY d.name)
        AS decisions
    FROM decision d
    JOIN chosen ON chosen.run_id = d.run_id AND chosen.completion_id = d.completion_id
    WHERE d.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
    GROUP BY ALL
)
SELECT chosen.place, chosen.found, chosen.prompt_id, chosen.writer, chosen.dose, chosen.kept, chosen.dropped_by, c.text,
    c.prompt, c.system_prompt, c.strength, c.tokens, c.ended, chosen.perplexity, c.tail_perplexity, c.distinct_tail,
    c.compression, list_aggregate(c.token_kl, 'mean') AS kl_mean, chosen.kl_p95, chosen.gain, c.pieces, c.token_kl,
    decided.decisions, c.arm_id, c.completion_id, c.run_id
FROM chosen
JOIN completion c ON c.run_id = chosen.run_id AND c.completion_id = chosen.completion_id
LEFT JOIN decided ON decided.run_id = chosen.run_id AND decided.completion_id = chosen.completion_id
ORDER BY chosen.place;
