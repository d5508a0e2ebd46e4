-- How far is one arm from another on every vignette that both answer? ($base and $arm are whole arm ids of one eval hash)
SELECT a.foundation, a.vignette, greatest(b.own, ln(1e-6)) AS base_nats, greatest(a.own, ln(1e-6)) AS arm_nats,
    greatest(a.own, ln(1e-6)) - greatest(b.own, ln(1e-6)) AS d_nats, b.pick AS base_pick, a.pick AS arm_pick,
    b.mass AS base_mass, a.mass AS arm_mass
FROM (SELECT DISTINCT ON (arm_id, eval_hash, vignette) * FROM choice WHERE arm_id = $arm) a
JOIN (SELECT DISTINCT ON (arm_id, eval_hash, vignette) * FROM choice WHERE arm_id = $base) b USING (eval_hash, vignette)
WHERE a.scorable AND b.scorable
ORDER BY a.foundation, abs(d_nats) DESC, a.vignette;
