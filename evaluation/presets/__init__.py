"""Suites with a name: what they reproduce, with which settings, and what was published; one YAML file each."""
