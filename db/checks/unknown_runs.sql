SELECT format('{} row(s) of {} belong to run {}, which is not registered', count(*), source, run_id) AS problem
FROM (
    SELECT 'run_event' AS source, run_id FROM run_event
    UNION ALL SELECT 'unit', run_id FROM unit
    UNION ALL SELECT 'vignette', run_id FROM vignette
    UNION ALL SELECT 'direction', run_id FROM direction
    UNION ALL SELECT 'direction_layer', run_id FROM direction_layer
    UNION ALL SELECT 'dose', run_id FROM dose
    UNION ALL SELECT 'calibration', run_id FROM calibration
    UNION ALL SELECT 'arm', run_id FROM arm
    UNION ALL SELECT 'answer', run_id FROM answer
    UNION ALL SELECT 'prior', run_id FROM prior
    UNION ALL SELECT 'completion', run_id FROM completion
    UNION ALL SELECT 'effect', run_id FROM effect
    UNION ALL SELECT 'verdict', run_id FROM verdict
    UNION ALL SELECT 'picture', run_id FROM picture
    UNION ALL SELECT 'capture', run_id FROM capture
    UNION ALL SELECT 'contender', run_id FROM contender
    UNION ALL SELECT 'point', run_id FROM point
    UNION ALL SELECT 'point_effect', run_id FROM point_effect
    UNION ALL SELECT 'comparison', run_id FROM comparison
    UNION ALL SELECT 'band', run_id FROM band
)
ANTI JOIN run USING (run_id)
GROUP BY source, run_id ORDER BY ALL;
