-- A later gate's arms and texts go along the direction of the run before it.
SELECT format('{} row(s) of {} belong to direction {} of run {}, which is not stored', count(*), source, direction_id, run_id)
    AS problem
FROM (
    SELECT 'direction_layer' AS source, run_id, direction_id FROM direction_layer
    UNION ALL SELECT 'dose', run_id, direction_id FROM dose
    UNION ALL SELECT 'calibration', run_id, direction_id FROM calibration
    UNION ALL SELECT 'band', run_id, direction_id FROM band
)
ANTI JOIN direction USING (run_id, direction_id)
GROUP BY source, direction_id, run_id
UNION ALL
SELECT format('{} row(s) of {} of run {} belong to direction {}, which no run has stored', count(*), source, run_id, direction_id)
FROM (
    SELECT 'arm' AS source, run_id, direction_id FROM arm WHERE direction_id IS NOT NULL
    UNION ALL SELECT 'completion', run_id, direction_id FROM completion WHERE direction_id IS NOT NULL
)
ANTI JOIN direction USING (direction_id)
GROUP BY source, direction_id, run_id
ORDER BY ALL;
