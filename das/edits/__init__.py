"""Edits: changes of a vector towards a value, without a source."""
