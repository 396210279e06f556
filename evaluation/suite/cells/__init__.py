"""Runs one cell: fits, keeps, judges; it knows nothing of selection or scores."""
