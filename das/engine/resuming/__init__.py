"""Rows of token ids run on from what they left behind in a model; no prompts, no featurizers."""
