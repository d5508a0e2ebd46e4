-- How are a check's values spread over steered texts, in bins, and what of each bin does every check keep? ($run: a prefix, or NULL for all; $check: its name; $bins: 40)
WITH said AS (
    SELECT d.run_id, d.name, d.value, t.kept
    FROM decision d
    JOIN text_state t ON t.run_id = d.run_id AND t.completion_id = d.completion_id
    WHERE d.run_id BETWEEN coalesce($run, '') AND concat($run, '~') AND ($check IS NULL OR d.name = $check)
        AND t.role IN ('probe', 'collected') AND isfinite(d.value)
), spread AS (
    SELECT run_id, name, min(value) AS lowest,
        greatest(max(value) - min(value), 1e-9) / coalesce($bins::INTEGER, 40) AS width
    FROM said GROUP BY ALL
), binned AS (
    SELECT said.*, lowest, width, least(floor((value - lowest) / width), coalesce($bins::INTEGER, 40) - 1) AS bin
    FROM said
    JOIN spread ON spread.run_id = said.run_id AND spread.name = said.name
)
SELECT name, lowest + bin * width AS low, lowest + (bin + 1) * width AS high, count(*) AS texts,
    count(*) FILTER (kept) AS kept, run_id
FROM binned
GROUP BY run_id, name, bin, lowest, width
ORDER BY run_id, name, low;
