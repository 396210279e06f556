"""The vocabulary: frozen values, splits, and when two spellings are one name."""
