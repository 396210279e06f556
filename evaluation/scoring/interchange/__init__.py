"""What the interchange track measures of pairs: cause, isolate, disentangle, and what they are broken down
by."""
