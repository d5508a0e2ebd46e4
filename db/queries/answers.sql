-- How did an arm answer each vignette, beside the base? ($run and $arm are whole ids; $foundation: NULL for all)
SELECT a.vignette, a.foundation, b.own AS base_nats, a.own AS arm_nats, a.own - b.own AS moved, b.pick AS base_pick,
    a.pick AS arm_pick, a.mass AS arm_mass, b.mass AS base_mass, shown.text
FROM (FROM choice WHERE run_id = $run AND arm_id = $arm) a
JOIN base_arm ON base_arm.run_id = a.run_id AND base_arm.eval_hash = a.eval_hash
JOIN (FROM choice WHERE run_id = $run) b ON b.arm_id = base_id AND b.vignette = a.vignette
LEFT JOIN (SELECT vignette, any_value(text) AS text FROM vignette WHERE run_id = $run GROUP BY ALL) shown
    ON shown.vignette = a.vignette
WHERE $foundation IS NULL OR a.foundation = $foundation
ORDER BY abs(moved) DESC NULLS LAST, a.vignette;
