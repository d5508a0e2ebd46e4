SELECT format('{} row(s) of {} belong to arm {} of run {}, which is not stored', count(*), source, arm_id, run_id) AS problem
FROM (SELECT 'answer' AS source, run_id, arm_id FROM answer UNION ALL SELECT 'effect', run_id, arm_id FROM effect)
ANTI JOIN arm USING (run_id, arm_id)
GROUP BY source, arm_id, run_id ORDER BY ALL;
