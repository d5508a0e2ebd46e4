-- What every artefact was made from, one step back. Unlike view lineage, where each thing hangs in one place, an artefact
-- here has as many origins as it has: an adapter comes from a unit of work, from its texts and from earlier adapters.

CREATE OR REPLACE VIEW artefact AS
WITH spec AS (
    SELECT DISTINCT run_id, CASE WHEN json_valid(spec) THEN spec::JSON ELSE '{}'::JSON END AS spec FROM run
), said AS (
    SELECT run_id, any_value(status) FILTER (kind = 'gate') AS outcome, any_value(status) FILTER (kind = 'label') AS label
    FROM verdict GROUP BY ALL
), scored AS (
    SELECT run_id, arm_id,
        any_value(format('{:+.2f} [{:+.2f}, {:+.2f}]', value, low, high)) FILTER (quantity = 'd_target') AS moved,
        any_value(format('{:.2f}', value)) FILTER (quantity = 'coherence') AS coherence
    FROM effect GROUP BY ALL
), calibrated AS (
    SELECT run_id, direction_id, any_value(strength) AS strength FROM calibration GROUP BY ALL
), judged AS (
    SELECT run_id, completion_id, bool_and(keep) AS kept FROM decision GROUP BY ALL
)
SELECT DISTINCT 'run' AS kind, run.run_id AS id, run.run_id, run.unit_id, gate AS name,
    concat_ws(' ', gate, said.outcome, said.label, method, trait, model) AS label,
    NULL::DOUBLE AS seconds, NULL::VARCHAR AS artifact
FROM run LEFT JOIN said ON said.run_id = run.run_id
UNION ALL
SELECT DISTINCT 'unit', unit_id, run_id, unit_id, stage, trim(concat_ws(' ', stage, name)), seconds, NULL FROM unit
UNION ALL
SELECT 'direction', d.direction_id, d.run_id, d.unit_id, d.kind,
    concat_ws(' ', d.kind, d.method, format('dose 1 at strength {:.3g}', c.strength)), NULL, d.artifact
FROM direction d
LEFT JOIN calibrated c ON c.run_id = d.run_id AND c.direction_id = d.direction_id
UNION ALL
SELECT 'adapter', adapter_id, run_id, unit_id, role,
    format('{} rank {} on {}+{} texts', role, rank, train_texts, validation_texts), NULL, artifact
FROM adapter
UNION ALL
SELECT 'arm', arm.arm_id, arm.run_id, arm.unit_id, arm.kind,
    concat_ws(' ', arm.kind, CASE WHEN arm.dose <> 0 THEN format('dose {:g}', arm.dose) END,
        'd' || (spec->>'$.target') || ' ' || scored.moved, 'coherence ' || scored.coherence),
    NULL, NULL
FROM arm
LEFT JOIN spec ON spec.run_id = arm.run_id
LEFT JOIN scored ON scored.run_id = arm.run_id AND scored.arm_id = arm.arm_id
UNION ALL
SELECT 'completion', c.completion_id, c.run_id, c.unit_id, coalesce(c.role, 'text'),
    concat_ws(' ', c.role, CASE WHEN c.dose <> 0 THEN format('dose {:g}', c.dose) END,
        CASE WHEN judged.kept THEN 'kept' WHEN NOT judged.kept THEN 'dropped' END, 'on', c.prompt_id),
    NULL, NULL
FROM completion c
LEFT JOIN judged ON judged.run_id = c.run_id AND judged.completion_id = c.completion_id
UNION ALL
SELECT DISTINCT 'filter', filter_id, run_id, unit_id, 'filter', 'round of decisions', NULL, NULL FROM filter_set
UNION ALL
SELECT DISTINCT 'artifact', artifact, run_id, unit_id, 'direction', 'tensors of direction ' || direction_id, NULL, artifact
FROM direction
UNION ALL
SELECT DISTINCT 'artifact', artifact, run_id, unit_id, 'adapter', 'tensors of adapter ' || adapter_id, NULL, artifact
FROM adapter
UNION ALL
SELECT DISTINCT 'picture', sha256, run_id, unit_id, 'picture', name, NULL, sha256 FROM picture;
COMMENT ON VIEW artefact IS 'Everything that has an id of its own: run, unit, direction, adapter, arm, completion, filter, artifact, picture.';
COMMENT ON COLUMN artefact.id IS 'Its id; of files their sha256.';
COMMENT ON COLUMN artefact.run_id IS 'The run that made it.';
COMMENT ON COLUMN artefact.unit_id IS 'The unit of work that made it.';
COMMENT ON COLUMN artefact.name IS 'What sort it is: gate, stage, role or kind.';
COMMENT ON COLUMN artefact.label IS 'What it is, in words.';
COMMENT ON COLUMN artefact.seconds IS 'Wall-clock time of a unit of work (seconds).';
COMMENT ON COLUMN artefact.artifact IS 'sha256 of the file that holds it; NULL where it is rows only.';

CREATE OR REPLACE VIEW made_from AS
WITH spec AS (
    SELECT DISTINCT run_id, parent_run, CASE WHEN json_valid(spec) THEN spec::JSON ELSE '{}'::JSON END AS spec FROM run
), adopted AS (
    SELECT arm.*, CASE WHEN arm.kind IN ('base', 'prompt')
        THEN coalesce(nullif(parent.spec->>'$.root_run', ''), spec.spec->>'$.gate1_run')
        ELSE (spec.spec->>'$.gate1_run') END AS source_run
    FROM arm
    JOIN unit ON unit.run_id = arm.run_id AND unit.unit_id = arm.unit_id AND unit.stage = 'adopt'
    JOIN spec ON spec.run_id = arm.run_id
    LEFT JOIN spec parent ON parent.run_id = (spec.spec->>'$.gate1_run')
)
SELECT 'run' AS kind, run_id AS id, run_id, 'goes on from' AS relation, 'run' AS from_kind, parent_run AS from_id
FROM spec WHERE parent_run IS NOT NULL
UNION ALL
SELECT 'run', run_id, run_id, 'goes on from', 'run', unnest([gate1_run, gate2_run]) FROM round
UNION ALL
SELECT 'run', run_id, run_id, 'goes on from', 'run', gate3_run FROM round WHERE gate3_run IS NOT NULL
UNION ALL
SELECT 'run', run_id, run_id, 'bakes in', 'adapter', unnest(from_json(coalesce(spec->'$.history', '[]'), '["VARCHAR"]'))
FROM spec
UNION ALL
SELECT 'run', run_id, run_id, 'trains on what is kept by', 'filter', (spec->>'$.filter_id')
FROM spec WHERE (spec->>'$.filter_id') IS NOT NULL
UNION ALL
SELECT DISTINCT 'unit', unit_id, run_id, 'part of', 'run', run_id FROM unit
UNION ALL
SELECT 'direction', direction_id, run_id, 'made by', 'unit', unit_id FROM direction
UNION ALL
SELECT 'adapter', adapter_id, run_id, 'made by', 'unit', unit_id FROM adapter
UNION ALL
SELECT 'adapter', adapter_id, run_id, CASE part WHEN 'train' THEN 'trained on' ELSE 'validated on' END, 'completion',
    completion_id
FROM heal_text
UNION ALL
SELECT 'adapter', adapter_id, run_id, 'on top of', 'adapter', unnest(history) FROM adapter
UNION ALL
SELECT 'adapter', whole.adapter_id, whole.run_id, 'made of', 'adapter', pole.adapter_id
FROM adapter whole
JOIN adapter pole ON pole.run_id = whole.run_id AND pole.round = whole.round
WHERE whole.role = 'weights' AND pole.role IN ('pole-positive', 'pole-negative')
UNION ALL
SELECT 'arm', arm_id, run_id, 'made by', 'unit', unit_id FROM arm
UNION ALL
SELECT 'arm', arm_id, run_id, 'steered along', 'direction', direction_id FROM arm WHERE direction_id IS NOT NULL
UNION ALL
SELECT 'arm', arm_id, run_id, 'bakes in', 'adapter', adapter_id FROM arm WHERE adapter_id IS NOT NULL
UNION ALL
-- A later gate takes arms over under new names: what is the same in all that decides an arm is the same arm.
SELECT 'arm', a.arm_id, a.run_id, 'taken over from', 'arm', b.arm_id
FROM adopted a
JOIN arm b ON b.run_id = a.source_run AND b.eval_hash = a.eval_hash AND b.strength = a.strength AND b.dose = a.dose
    AND b.kind = CASE a.kind WHEN 'previous' THEN 'base' ELSE a.kind END
    AND b.direction_id IS NOT DISTINCT FROM a.direction_id AND b.system_prompt IS NOT DISTINCT FROM a.system_prompt
UNION ALL
SELECT 'completion', completion_id, run_id, 'made by', 'unit', unit_id FROM completion
UNION ALL
SELECT 'completion', completion_id, run_id, 'written by', 'arm', arm_id FROM completion WHERE arm_id IS NOT NULL
UNION ALL
SELECT 'completion', completion_id, run_id, 'written along', 'direction', direction_id
FROM completion WHERE arm_id IS NULL AND direction_id IS NOT NULL
UNION ALL
SELECT DISTINCT 'filter', filter_id, run_id, 'made by', 'unit', unit_id FROM filter_set
UNION ALL
SELECT DISTINCT 'filter', filter_id, run_id, 'decides on', 'completion', completion_id FROM filter_decision
UNION ALL
SELECT DISTINCT 'artifact', artifact, run_id, 'holds', 'direction', direction_id FROM direction
UNION ALL
SELECT DISTINCT 'artifact', artifact, run_id, 'holds', 'adapter', adapter_id FROM adapter
UNION ALL
SELECT DISTINCT 'picture', sha256, run_id, 'shows', 'run', run_id FROM picture;
COMMENT ON VIEW made_from IS 'What each artefact was made from, one row per origin: follow from_id upwards, or id downwards.';
COMMENT ON COLUMN made_from.kind IS 'What sort of artefact it is (view artefact).';
COMMENT ON COLUMN made_from.id IS 'Its id.';
COMMENT ON COLUMN made_from.run_id IS 'The run that made it.';
COMMENT ON COLUMN made_from.relation IS 'How it came from the other: made by, part of, goes on from, bakes in, trained on, and so on.';
COMMENT ON COLUMN made_from.from_kind IS 'What sort of artefact it came from.';
COMMENT ON COLUMN made_from.from_id IS 'That one''s id.';
