"""AxBench's own protocol on files in its format (Wu et al. 2025, arXiv 2501.17148)."""
