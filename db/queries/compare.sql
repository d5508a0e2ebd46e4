-- How far is one arm from another, by foundation and paired by vignette? ($base and $arm are whole arm ids of one eval hash)
SELECT a.foundation, avg(greatest(b.own, ln(1e-6))) AS base_nats, avg(greatest(a.own, ln(1e-6))) AS arm_nats,
    avg(greatest(a.own, ln(1e-6)) - greatest(b.own, ln(1e-6))) AS d_nats, count(*) AS paired
FROM (SELECT DISTINCT ON (arm_id, eval_hash, vignette) * FROM choice WHERE arm_id = $arm) a
JOIN (SELECT DISTINCT ON (arm_id, eval_hash, vignette) * FROM choice WHERE arm_id = $base) b USING (eval_hash, vignette)
WHERE a.scorable AND b.scorable
GROUP BY ALL
ORDER BY a.foundation;
