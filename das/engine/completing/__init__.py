"""Rows of token ids continued greedily, plainly or after a swap; no prompts, no kept states."""
