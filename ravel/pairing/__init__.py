"""Answered prompts become interchange pairs in splits that do not leak."""
