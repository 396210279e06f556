"""What runs blocks, states and completions."""
