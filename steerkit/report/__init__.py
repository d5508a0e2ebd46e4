"""A run as one page that needs nothing beside it: tables, pictures, texts, and the commands that make it again."""
