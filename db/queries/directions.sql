-- How good is each fitted direction, block by block? ($run: a prefix, or NULL for all)
SELECT layer.run_id, method, kind, layer.direction_id, block, norm, relative_norm, half_split_cosine, artifact
FROM direction_layer layer
JOIN direction ON direction.run_id = layer.run_id AND direction.direction_id = layer.direction_id
WHERE layer.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY layer.run_id, kind, layer.direction_id, block;
