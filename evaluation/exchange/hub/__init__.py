"""Folders to and from a Hugging Face hub."""
