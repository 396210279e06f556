"""Outcomes of the tracks that came after interchange, one file each."""
