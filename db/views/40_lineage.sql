-- Where a run stands, and what came from what.

CREATE OR REPLACE VIEW run_state AS
SELECT run_id, arg_max(state, seq) AS state, arg_max(detail, seq) AS detail, make_timestamp(max(seq) // 1000) AS since,
    arg_max(pid, seq) AS pid, arg_max(host, seq) AS host
FROM run_event GROUP BY ALL;
COMMENT ON VIEW run_state IS 'The newest event of each run; since is UTC.';

CREATE OR REPLACE VIEW progress_units AS
SELECT run_id, stage, count(DISTINCT unit_id) AS units, sum(seconds) AS seconds FROM unit GROUP BY ALL;
COMMENT ON VIEW progress_units IS 'Finished units of work per run and stage, and the wall-clock time they took (seconds).';

CREATE OR REPLACE VIEW lineage_edge AS
SELECT DISTINCT run_id, 'run' AS kind, run_id AS id, NULL::VARCHAR AS parent_kind, NULL::VARCHAR AS parent_id,
    concat_ws(' ', gate, method, trait, model) AS label
FROM run
UNION ALL
SELECT run_id, 'direction', direction_id, 'run', run_id, concat_ws(' ', method, kind) FROM direction
UNION ALL
SELECT run_id, 'arm', arm_id, CASE WHEN direction_id IS NULL THEN 'run' ELSE 'direction' END,
    coalesce(direction_id, run_id), concat_ws(' ', method, kind, 'dose', dose)
FROM arm
UNION ALL
SELECT run_id, 'score', arm_id, 'arm', arm_id, NULL FROM (SELECT DISTINCT run_id, arm_id FROM answer)
UNION ALL
SELECT run_id, 'completion', completion_id,
    CASE WHEN arm_id IS NOT NULL THEN 'arm' WHEN direction_id IS NOT NULL THEN 'direction' ELSE 'run' END,
    coalesce(arm_id, direction_id, run_id), left(replace(text, chr(10), ' '), 80)
FROM completion;
COMMENT ON VIEW lineage_edge IS 'What each thing was made from, one step back.';

CREATE OR REPLACE VIEW lineage AS
WITH RECURSIVE edge AS MATERIALIZED (
    SELECT * FROM lineage_edge
), walk AS (
    SELECT run_id, kind, id, parent_kind, parent_id, label, 0 AS depth, [kind || ':' || id] AS path
    FROM edge WHERE parent_id IS NULL
    UNION ALL
    SELECT e.run_id, e.kind, e.id, e.parent_kind, e.parent_id, e.label, walk.depth + 1,
        list_append(walk.path, e.kind || ':' || e.id)
    FROM walk JOIN edge e ON e.run_id = walk.run_id AND e.parent_kind = walk.kind AND e.parent_id = walk.id
), said AS (
    SELECT run_id, arm_id, string_agg(format('{} {:.3f}', quantity, value), ', ' ORDER BY quantity DESC) AS label
    FROM effect WHERE quantity IN ('d_target', 'coherence') AND value IS NOT NULL GROUP BY ALL
)
SELECT walk.run_id, depth, kind, id, parent_kind, parent_id, coalesce(walk.label, said.label) AS label, path
FROM walk LEFT JOIN said ON kind = 'score' AND said.run_id = walk.run_id AND said.arm_id = walk.id;
COMMENT ON VIEW lineage IS 'Everything a run made: run > direction > arm > score and completion. ORDER BY path prints the tree.';
COMMENT ON COLUMN lineage.depth IS 'Steps from the run.';
