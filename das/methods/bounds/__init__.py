"""Reference rows: the floors and the ceiling of every score."""
