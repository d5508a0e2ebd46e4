-- Did the student heal, or only undo the steering? ($run: a prefix, or NULL for all)
SELECT * FROM heal_or_undo
WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY run_id, round, arm_id;
