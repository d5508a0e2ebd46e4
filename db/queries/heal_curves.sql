-- How did training go, in at most a few hundred places per adapter, and where does its barrier begin? ($run: a prefix, or NULL for all; $points: 200 per adapter)
-- The divergence is the aggregate that the barrier of that adapter watches.
WITH placed AS (
    SELECT s.*, adapter.role, adapter.round, adapter.tau,
        CASE WHEN json_valid(adapter.config) THEN adapter.config ->> '$.aggregate' END AS aggregate,
        (s.step - 1) * coalesce($points::INTEGER, 200) //
            greatest(max(s.step) OVER (PARTITION BY s.run_id, s.adapter_id), coalesce($points::INTEGER, 200)) AS place
    FROM heal_step s
    JOIN adapter ON adapter.run_id = s.run_id AND adapter.adapter_id = s.adapter_id
    WHERE s.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
)
SELECT role, round, max(step) AS step, max(epoch) AS epoch, avg(nll) AS nll,
    avg(CASE aggregate WHEN 'mean' THEN d_mean WHEN 'p95' THEN d_p95 WHEN 'max' THEN d_max ELSE d_rmse END) AS divergence,
    aggregate, tau, avg(over) AS over, avg(barrier) AS barrier,
    avg(grad_barrier / nullif(grad_nll, 0)) AS gradient_ratio, max(update_norm) AS update_norm,
    avg(learning_rate) AS learning_rate, adapter_id, run_id
FROM placed
GROUP BY run_id, adapter_id, role, round, aggregate, tau, place
ORDER BY run_id, round, role, adapter_id, place;
