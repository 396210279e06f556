"""Facts and templates: their tables, and where they come from."""
