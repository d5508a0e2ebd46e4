"""One file per gate: a question, its thresholds and the checks that answer it."""
