"""Runs the controls of a suite beside its grid; it chooses nothing and changes no cell of the grid."""
