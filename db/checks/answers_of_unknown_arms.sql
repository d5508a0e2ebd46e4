-- A quantity of gate 2 is one of a group of texts, which stands where gate 1 has an arm.
SELECT format('{} row(s) of {} belong to arm {} of run {}, which is not stored', count(*), source, arm_id, run_id) AS problem
FROM (
    SELECT 'answer' AS source, run_id, arm_id FROM answer
    UNION ALL
    SELECT 'effect', run_id, arm_id FROM effect ANTI JOIN (SELECT run_id FROM run WHERE gate = 'gate2') USING (run_id)
)
ANTI JOIN arm USING (run_id, arm_id)
GROUP BY source, arm_id, run_id ORDER BY ALL;
