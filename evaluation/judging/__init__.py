"""A model becomes outcomes."""
