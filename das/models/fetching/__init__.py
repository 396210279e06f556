"""Models brought from a hub, a package index or a GGUF file into a folder that can be loaded."""
