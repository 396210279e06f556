"""Named suites: what they reproduce, with which settings, and what was published; one YAML file each."""
