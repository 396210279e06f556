"""Methods that find detectors: scores that tell values, which nothing swaps."""
