"""What is still said where a value is erased becomes numbers: forget, keep, isolate."""
