-- Which texts broke while they were written, where, and did the retry help? ($run: a prefix, or NULL for all)
SELECT b.attempt, b.at_token, b.rewound_to, b.why, b.value, b.strength_before, b.strength_after, c.role, c.dose,
    c.prompt_id, t.kept, c.text, b.completion_id, b.run_id
FROM backtrack b
LEFT JOIN completion c ON c.run_id = b.run_id AND c.completion_id = b.completion_id
LEFT JOIN text_state t ON t.run_id = b.run_id AND t.completion_id = b.completion_id
WHERE b.run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY b.run_id, b.completion_id, b.attempt;
