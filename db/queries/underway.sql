-- Which runs are under way, how far are they, and how long will they take?
-- expected: how many units of work their specification asks for, as far as that is known; gate 2 may need more batches.
WITH registered AS (
    SELECT DISTINCT ON (run_id) run_id, gate, method, trait, registered_at,
        CASE WHEN json_valid(spec) THEN spec::JSON ELSE '{}'::JSON END AS spec
    FROM run
), done AS (
    SELECT run_id, count(*) AS units, sum(seconds) AS seconds, max_by(name, place) AS newest
    FROM (SELECT DISTINCT ON (run_id, unit_id) run_id, unit_id, name, seconds, rowid AS place FROM unit) GROUP BY ALL
), batches AS (
    SELECT run_id, count(DISTINCT unit_id) AS collected FROM controller_step WHERE phase = 'collect' GROUP BY ALL
), asked AS (
    SELECT registered.run_id,
        CASE gate
            WHEN 'gate1' THEN json_array_length(spec, '$.dose.multiples') + json_array_length(spec, '$.dose.negative_multiples')
                + ((spec ->> '$.dose.random_directions')::INTEGER + (spec ->> '$.dose.shuffled_directions')::INTEGER)
                * (spec ->> '$.dose.null_doses')::INTEGER + 7
            WHEN 'gate2' THEN 8 + greatest(0, coalesce(collected, 0) - 2)
            WHEN 'gate3' THEN 12 + 4 * json_array_length(spec, '$.controls') + 5 * (spec ->> '$.weights')::BOOLEAN::INTEGER
            WHEN 'gate4' THEN (spec ->> '$.rounds')::INTEGER + 1
        END::BIGINT AS expected
    FROM registered
    LEFT JOIN batches ON batches.run_id = registered.run_id
)
SELECT r.run_id, r.gate, r.method, r.trait, coalesce(units, 0) AS units, expected, seconds, newest,
    CASE WHEN units > 0 AND expected > units THEN seconds / units * (expected - units) END AS seconds_left,
    state.since, state.pid, state.host
FROM registered r
JOIN run_state state ON state.run_id = r.run_id AND state.state = 'started'
LEFT JOIN done ON done.run_id = r.run_id
LEFT JOIN asked ON asked.run_id = r.run_id
ORDER BY r.registered_at DESC, r.run_id;
