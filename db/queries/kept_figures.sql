-- What did each run of gate 2 keep: texts and tokens made and kept, gain, perplexity, backtracking? ($run: a prefix, or NULL for all)
-- Tokens made include those that were rewound: they cost as much as any other.
WITH steered AS (
    SELECT * FROM text_state
    WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') AND role IN ('probe', 'collected')
), rewound AS (
    SELECT b.run_id, count(*) AS retries, sum(b.at_token - b.rewound_to)::BIGINT AS tokens
    FROM backtrack b
    JOIN steered ON steered.run_id = b.run_id AND steered.completion_id = b.completion_id
    GROUP BY ALL
), figures AS (
    SELECT run_id, count(*) AS made, count(*) FILTER (kept) AS kept, sum(tokens)::BIGINT AS tokens,
        coalesce(sum(tokens) FILTER (kept), 0)::BIGINT AS tokens_kept, avg(gain) FILTER (kept) AS mean_gain_kept,
        median(perplexity) FILTER (kept) AS median_perplexity_kept
    FROM steered GROUP BY ALL
)
SELECT run.run_id, run.method, run.trait, (run.spec->>'$.texts.backtrack')::BOOLEAN AS backtrack,
    run.spec->>'$.texts.schedule' AS schedule, made, kept, kept / made AS kept_share,
    figures.tokens + coalesce(rewound.tokens, 0) AS tokens_made, tokens_kept,
    CASE WHEN tokens_kept > 0 THEN (figures.tokens + coalesce(rewound.tokens, 0)) / tokens_kept END
        AS tokens_made_per_kept_token,
    mean_gain_kept, median_perplexity_kept, coalesce(retries, 0) AS retries
FROM figures
JOIN run ON run.run_id = figures.run_id
LEFT JOIN rewound ON rewound.run_id = figures.run_id
ORDER BY run.run_id;
