"""What is on disk, one reader and one writer for each. Loads without torch."""
