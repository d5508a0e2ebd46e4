-- Which columns does a table or view have, and what do they mean, with units? ($table: a name, or NULL for all)
-- A column of a view that says nothing of its own means what it means in the table it is at home in, or in most tables; of
-- an end of an interval it is enough to know whose.
WITH told AS (
    SELECT column_name, comment, count(*) AS tables,
        min(list_position(['arm', 'run', 'completion', 'vignette', 'direction', 'adapter'], table_name)) AS home
    FROM duckdb_columns()
    WHERE NOT internal AND comment IS NOT NULL AND table_name IN (SELECT table_name FROM duckdb_tables())
    GROUP BY ALL
), tables AS (
    SELECT column_name, coalesce(
        arg_min(comment, home), CASE WHEN 2 * max(tables) > sum(tables) THEN arg_max(comment, tables) END
    ) AS comment FROM told GROUP BY ALL
)
SELECT c.column_name AS column, c.data_type AS type,
    CASE WHEN c.comment IS NOT NULL THEN c.comment
        WHEN tables.comment IS NOT NULL THEN tables.comment
        WHEN c.column_name LIKE '%\_low' ESCAPE '\' THEN concat('Lower end of the 95% interval of ', c.column_name[:-5], '.')
        WHEN c.column_name LIKE '%\_high' ESCAPE '\' THEN concat('Upper end of the 95% interval of ', c.column_name[:-6], '.')
    END AS meaning, c.table_name AS table
FROM duckdb_columns() c
LEFT JOIN tables ON tables.column_name = c.column_name
WHERE NOT c.internal AND ($table IS NULL OR c.table_name = $table)
ORDER BY c.table_name, c.column_index;
