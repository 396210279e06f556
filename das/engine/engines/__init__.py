"""The engines themselves."""
