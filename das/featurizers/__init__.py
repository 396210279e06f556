"""Featurizers: coordinates of a vector and a choice among them."""
