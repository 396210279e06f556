"""Sparse autoencoders trained on a model's states over running text, as sae-lens has them in a folder."""
