-- Which steered texts stand nearest to the threshold of a check that decides on them alone? ($run: a prefix; $check: NULL for any; $labeller: leaves out what they labelled; $limit: 20)
-- `nearer` counts the texts on the same side of the same threshold that are at least as near, the text itself included:
-- where a check has but two values, all that it keeps are equally near, so they come late.
WITH steered AS (
    SELECT run_id, completion_id, prompt_id, dose FROM completion
    WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') AND role IN ('probe', 'collected')
), said AS (
    SELECT d.run_id, d.completion_id, d.name, d.value, d.threshold, d.direction, d.keep, steered.prompt_id, steered.dose,
        count(*) FILTER (NOT d.keep) OVER (PARTITION BY d.run_id, d.completion_id) AS drops,
        count(*) FILTER (NOT d.keep) OVER (PARTITION BY d.run_id, d.name) AS dropped
    FROM decision d
    JOIN steered ON steered.run_id = d.run_id AND steered.completion_id = d.completion_id
    WHERE d.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
), near AS (
    SELECT *, count(*) OVER (PARTITION BY run_id, name, keep ORDER BY abs(value - threshold)
        RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS nearer
    FROM said
    WHERE dropped > 0 AND (drops = 0 OR (drops = 1 AND NOT keep)) AND ($check IS NULL OR name = $check)
), queue AS (
    SELECT DISTINCT ON (run_id, completion_id) * FROM near
    WHERE $labeller IS NULL OR NOT EXISTS (FROM current_label l
        WHERE l.run_id = near.run_id AND l.completion_id = near.completion_id AND l.labeller = $labeller)
    ORDER BY run_id, completion_id, nearer, name
)
SELECT name, value, threshold, direction, keep, nearer, count(*) OVER () AS found, dose, prompt_id, completion_id, run_id
FROM queue
ORDER BY nearer, name, keep, run_id, completion_id
LIMIT coalesce($limit::INTEGER, 20);
