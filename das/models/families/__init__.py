"""One declaration per model family."""
