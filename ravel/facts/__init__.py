"""Facts and templates: their tables, where they come from, how sound they are."""
