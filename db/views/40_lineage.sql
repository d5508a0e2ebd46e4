-- Where a run stands, and what came from what.

CREATE OR REPLACE VIEW run_state AS
SELECT run_id, arg_max(state, seq) AS state, arg_max(detail, seq) AS detail, make_timestamp(max(seq) // 1000) AS since,
    arg_max(pid, seq) AS pid, arg_max(host, seq) AS host
FROM run_event GROUP BY ALL;
COMMENT ON VIEW run_state IS 'The newest event of each run; since is UTC.';

CREATE OR REPLACE VIEW progress_units AS
SELECT run_id, stage, count(DISTINCT unit_id) AS units, sum(seconds) AS seconds FROM unit GROUP BY ALL;
COMMENT ON VIEW progress_units IS 'Finished units of work per run and stage, and the wall-clock time they took (seconds).';

-- A round that was repeated with the same thresholds may share its ids: what it said is the same, and counts once. Only
-- such rounds are looked through for doubles, which takes ten times as long as reading them.
CREATE OR REPLACE VIEW decision AS
WITH round_of AS (
    SELECT DISTINCT ON (run_id) run_id, filter_id, count(*) OVER (PARTITION BY run_id, filter_id) AS told
    FROM filter_set ORDER BY run_id, seq DESC, filter_id DESC
)
SELECT d.*
FROM filter_decision d
JOIN round_of ON round_of.run_id = d.run_id AND round_of.filter_id = d.filter_id
WHERE told = 1
UNION ALL
SELECT DISTINCT ON (d.run_id, d.completion_id, d.name) d.*
FROM filter_decision d
JOIN round_of ON round_of.run_id = d.run_id AND round_of.filter_id = d.filter_id
WHERE told > 1;
COMMENT ON VIEW decision IS 'What each check says of each completion, in the newest round of each run.';

CREATE OR REPLACE VIEW lineage_edge AS
SELECT DISTINCT run_id, 'run' AS kind, run_id AS id, CASE WHEN parent_run IS NOT NULL THEN 'run' END AS parent_kind,
    parent_run AS parent_id, concat_ws(' ', gate, method, trait, model) AS label
FROM run
UNION ALL
SELECT run_id, 'direction', direction_id, 'run', run_id, concat_ws(' ', method, kind) FROM direction
UNION ALL
SELECT run_id, 'adapter', adapter_id, 'run', run_id,
    concat_ws(' ', role, 'on', train_texts, 'texts, artifact', left(artifact, 12))
FROM adapter
UNION ALL
-- An arm that another run's direction steers hangs below its own run.
SELECT arm.run_id, 'arm', arm.arm_id,
    CASE WHEN d.direction_id IS NOT NULL THEN 'direction' WHEN a.adapter_id IS NOT NULL THEN 'adapter' ELSE 'run' END,
    coalesce(d.direction_id, a.adapter_id, arm.run_id), concat_ws(' ', arm.method, arm.kind, 'dose', arm.dose)
FROM arm
LEFT JOIN (SELECT DISTINCT run_id, direction_id FROM direction) d
    ON d.run_id = arm.run_id AND d.direction_id = arm.direction_id
LEFT JOIN (SELECT DISTINCT run_id, adapter_id FROM adapter) a
    ON a.run_id = arm.run_id AND a.adapter_id = arm.adapter_id
UNION ALL
SELECT run_id, 'score', arm_id, 'arm', arm_id, NULL FROM (SELECT DISTINCT run_id, arm_id FROM answer)
UNION ALL
SELECT run_id, 'role', role, 'run', run_id, concat_ws(' ', count(*), 'texts')
FROM completion WHERE role <> 'greedy' GROUP BY ALL
UNION ALL
-- The direction of a sampled text belongs to the parent run, so the text hangs below the role it was written for.
SELECT run_id, 'completion', completion_id,
    CASE WHEN role <> 'greedy' THEN 'role' WHEN arm_id IS NOT NULL THEN 'arm'
        WHEN direction_id IS NOT NULL THEN 'direction' ELSE 'run' END,
    CASE WHEN role <> 'greedy' THEN role ELSE coalesce(arm_id, direction_id, run_id) END,
    left(replace(text, chr(10), ' '), 80)
FROM completion
UNION ALL
SELECT run_id, 'decision', completion_id, 'completion', completion_id,
    coalesce('dropped by ' || string_agg(name, ', ' ORDER BY name) FILTER (NOT keep), 'kept')
FROM decision GROUP BY ALL;
COMMENT ON VIEW lineage_edge IS 'What each thing was made from, one step back; a run, from the run it goes on from.';

-- Only a run may have its parent in another run, and what is in a run is at most four steps below it: written out, a
-- filter on run_id reaches the tables, which it cannot through a recursion.
CREATE OR REPLACE VIEW lineage AS
WITH RECURSIVE origin AS MATERIALIZED (
    FROM lineage_edge WHERE kind = 'run'
), generation AS (
    SELECT run_id, kind, id, parent_kind, parent_id, label, 0 AS depth, ['run:' || id] AS path
    -- A run whose parent is in another store is a root here.
    FROM origin WHERE NOT EXISTS (FROM origin parent WHERE parent.id = origin.parent_id)
    UNION ALL
    SELECT e.run_id, e.kind, e.id, e.parent_kind, e.parent_id, e.label, above.depth + 1,
        list_append(above.path, 'run:' || e.id)
    FROM generation above JOIN origin e ON e.parent_id = above.id
), first AS NOT MATERIALIZED (
    SELECT e.*, above.depth + 1 AS depth, list_append(above.path, e.kind || ':' || e.id) AS path
    FROM generation above
    JOIN lineage_edge e ON e.run_id = above.run_id AND e.parent_id = above.id
    WHERE e.parent_kind = 'run' AND e.kind IN ('direction', 'adapter', 'role', 'arm', 'completion')
), second AS NOT MATERIALIZED (
    SELECT e.*, above.depth + 1 AS depth, list_append(above.path, e.kind || ':' || e.id) AS path
    FROM first above
    JOIN lineage_edge e ON e.run_id = above.run_id AND e.parent_kind = above.kind AND e.parent_id = above.id
    WHERE e.kind IN ('arm', 'score', 'completion')
), third AS NOT MATERIALIZED (
    SELECT e.*, above.depth + 1 AS depth, list_append(above.path, e.kind || ':' || e.id) AS path
    FROM second above
    JOIN lineage_edge e ON e.run_id = above.run_id AND e.parent_kind = above.kind AND e.parent_id = above.id
    WHERE e.kind IN ('score', 'completion')
), tree AS NOT MATERIALIZED (
    FROM generation UNION ALL BY NAME FROM first UNION ALL BY NAME FROM second UNION ALL BY NAME FROM third
), walk AS NOT MATERIALIZED (
    FROM tree
    UNION ALL BY NAME
    SELECT e.*, above.depth + 1 AS depth, list_append(above.path, e.kind || ':' || e.id) AS path
    FROM tree above
    JOIN lineage_edge e ON e.run_id = above.run_id AND e.parent_id = above.id
    WHERE above.kind = 'completion' AND e.kind = 'decision'
), said AS NOT MATERIALIZED (
    SELECT run_id, arm_id, string_agg(format('{} {:.3f}', quantity, value), ', ' ORDER BY quantity DESC) AS label
    FROM effect WHERE quantity IN ('d_target', 'coherence') AND value IS NOT NULL GROUP BY ALL
)
SELECT walk.run_id, depth, kind, id, parent_kind, parent_id, coalesce(walk.label, said.label) AS label, path
FROM walk LEFT JOIN said ON kind = 'score' AND said.run_id = walk.run_id AND said.arm_id = walk.id;
COMMENT ON VIEW lineage IS 'Everything a run made: run > direction or adapter > arm > score and completion; or run > role > completion > decision. ORDER BY path prints the tree.';
COMMENT ON COLUMN lineage.run_id IS 'The run that made it.';
COMMENT ON COLUMN lineage.depth IS 'Steps from the first run, which goes on from none.';
COMMENT ON COLUMN lineage.path IS 'Every step from the first run to here, as kind:id.';
