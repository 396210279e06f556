"""Tasks with a version, one file each."""
