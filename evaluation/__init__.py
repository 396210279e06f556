"""Scores and tables: judging, metrics, intervals, suites, the command line."""
