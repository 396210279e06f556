"""Facts become prompts, a model answers them, answers become labels."""
