"""Folders held against what they claim; strangers' submissions checked."""
