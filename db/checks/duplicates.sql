SELECT format('{} {} of run {} is stored {} times', kind, id, run_id, count(*)) AS problem
FROM (
    SELECT 'unit' AS kind, run_id, unit_id AS id FROM unit
    UNION ALL SELECT 'run', run_id, run_id FROM run
    UNION ALL SELECT 'arm', run_id, arm_id FROM arm
    UNION ALL SELECT 'direction', run_id, direction_id FROM direction
    UNION ALL SELECT 'point', run_id, point_id FROM point
    UNION ALL SELECT 'completion', run_id, completion_id FROM completion
)
GROUP BY kind, id, run_id HAVING count(*) > 1 ORDER BY ALL;
