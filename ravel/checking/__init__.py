"""What to know of tables and instances before believing a score; nothing is mended here."""
