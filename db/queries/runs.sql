-- Which runs are there, how far did they get, and what did their gate say?
SELECT run.run_id, run.gate, run.method, run.trait, run.model, run.seed, state.state, verdict.status AS outcome,
    run.registered_at, progress.units, progress.seconds
FROM run
LEFT JOIN run_state state USING (run_id)
LEFT JOIN verdict ON verdict.run_id = run.run_id AND verdict.kind = 'gate'
LEFT JOIN (SELECT run_id, sum(units) AS units, sum(seconds) AS seconds FROM progress_units GROUP BY ALL) progress
    ON progress.run_id = run.run_id
ORDER BY run.registered_at DESC, run.run_id;
