"""A built benchmark for one model: its rows, its folder, the release's format of pairs."""
