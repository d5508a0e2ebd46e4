-- Which columns does a table or view have, and what do they mean, with units? ($table: a name, or NULL for all)
SELECT column_name AS column, data_type AS type, comment AS meaning, table_name AS table
FROM duckdb_columns()
WHERE NOT internal AND ($table IS NULL OR table_name = $table)
ORDER BY table_name, column_index;
