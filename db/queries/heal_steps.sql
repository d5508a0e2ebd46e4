-- How did training go, step by step, and how does the barrier's gradient compare with the objective's? ($run: a prefix, or NULL for all)
SELECT adapter.role, step, epoch, nll, d_mean, d_rmse, d_p95, d_max, over, barrier, grad_nll, grad_barrier,
    grad_barrier / nullif(grad_nll, 0) AS gradient_ratio, update_norm, learning_rate, s.adapter_id, s.run_id
FROM heal_step s
JOIN adapter ON adapter.run_id = s.run_id AND adapter.adapter_id = s.adapter_id
WHERE s.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY s.run_id, adapter.round, adapter.role, s.adapter_id, step;
