-- Which tables and views does the store have, and what do they hold?
SELECT name, kind, comment
FROM (
    SELECT view_name AS name, 'view' AS kind, comment FROM duckdb_views() WHERE NOT internal
    UNION ALL
    SELECT table_name, 'table', comment FROM duckdb_tables()
)
ORDER BY kind DESC, name;
