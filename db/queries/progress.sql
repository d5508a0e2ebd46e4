-- How many units of work has each stage of a run finished, and how long did they take? ($run: a prefix, or NULL for all)
SELECT run_id, stage, units, seconds FROM progress_units WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~') ORDER BY run_id, stage;
