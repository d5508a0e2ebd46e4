-- Which steered texts stand nearest to the threshold of a check that decides on them alone? ($run: a prefix; $check: NULL for any; $labeller: leaves out what they labelled; $limit: 20)
-- `nearer` counts the texts on the same side of the same threshold that are at least as near, the text itself included:
-- where a check has but two values, all that it keeps are equally near, so they come late.
WITH steered AS (
    SELECT run_id, completion_id, prompt_id, dose FROM completion
    WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') AND role IN ('probe', 'collected')
), judged AS (
    SELECT d.run_id, d.completion_id, d.name, d.value, d.threshold, d.direction, d.keep
    FROM decision d SEMI JOIN steered ON steered.run_id = d.run_id AND steered.completion_id = d.completion_id
    WHERE d.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
), dropping AS (
    SELECT run_id, name FROM judged GROUP BY ALL HAVING NOT bool_and(keep)
), counted AS (
    SELECT run_id, completion_id, count(*) FILTER (NOT keep) AS drops FROM judged GROUP BY ALL HAVING drops < 2
), near AS (
    SELECT j.*, count(*) OVER (PARTITION BY j.run_id, j.name, j.keep ORDER BY abs(j.value - j.threshold)
        RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS nearer
    FROM judged j
    JOIN dropping ON dropping.run_id = j.run_id AND dropping.name = j.name
    JOIN counted ON counted.run_id = j.run_id AND counted.completion_id = j.completion_id
    WHERE (drops = 0 OR NOT j.keep) AND ($check IS NULL OR j.name = $check)
), queue AS (
    SELECT run_id, completion_id, arg_min(near, (nearer, name)) AS one FROM near
    WHERE $labeller IS NULL OR NOT EXISTS (FROM current_label l
        WHERE l.run_id = near.run_id AND l.completion_id = near.completion_id AND l.labeller = $labeller)
    GROUP BY ALL
)
SELECT one.name, one.value, one.threshold, one.direction, one.keep, one.nearer, count(*) OVER () AS found, steered.dose,
    steered.prompt_id, completion_id, run_id
FROM queue JOIN steered USING (run_id, completion_id)
ORDER BY one.nearer, one.name, one.keep, run_id, completion_id
LIMIT coalesce($limit::INTEGER, 20);
