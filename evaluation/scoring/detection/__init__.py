"""Scores of values become numbers: rankings, and what thresholds give."""
