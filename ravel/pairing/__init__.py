"""Labelled prompts become interchange pairs."""
