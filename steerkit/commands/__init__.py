"""One command per file, found by its name: the module's docstring is the help, its `command` is the click command."""
