"""Methods that choose single neurons."""
