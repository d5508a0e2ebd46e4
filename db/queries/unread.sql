-- Which steered text should a labeller read next, blind? ($run: a prefix, or NULL for all; $labeller: leaves out what they labelled; $seed: of the order, 0; $limit: 20)
-- Kept and dropped texts in turns, each drawn at random from its kind, so that shares of the labelled stand for the run.
WITH steered AS (
    SELECT run_id, completion_id, kept, prompt_id,
        row_number() OVER (PARTITION BY run_id, kept ORDER BY md5(concat(completion_id, coalesce($seed::VARCHAR, '0'))))
            AS turn
    FROM text_state
    WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') AND role IN ('probe', 'collected')
)
SELECT count(*) OVER () AS found, prompt_id, completion_id, run_id
FROM steered
WHERE $labeller IS NULL OR NOT EXISTS (FROM current_label l
    WHERE l.run_id = steered.run_id AND l.completion_id = steered.completion_id AND l.labeller = $labeller)
-- Who comes first within a pair is drawn too, or a reader would learn what the checks say.
ORDER BY run_id, turn, md5(concat('turn', completion_id, coalesce($seed::VARCHAR, '0')))
LIMIT coalesce($limit::INTEGER, 20);
