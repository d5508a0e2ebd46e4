-- What do people say of the texts, and what do the checks say? ($run: a prefix, or NULL for all)
SELECT l.labeller, l.coherent, l.trait, t.kept, t.dropped_by, t.role, t.dose, t.text, l.completion_id, l.run_id
FROM current_label l
LEFT JOIN text_state t ON t.run_id = l.run_id AND t.completion_id = l.completion_id
WHERE l.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY l.run_id, l.completion_id, l.labeller;
