-- Texts that a student writes while it is trained.

COMMENT ON COLUMN completion.role IS 'greedy, base, probe, collected, random, control-unsteered, control-random, control-persona, pole or online; NULL in rows older than gate 2.';
