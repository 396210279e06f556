"""Detectors: scores that tell whether a prompt's entity has a value."""
