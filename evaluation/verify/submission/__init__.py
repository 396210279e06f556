"""Submissions of strangers: limits, names, unpacking, checks."""
