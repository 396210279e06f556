"""Scores of what a model goes on to say freely after an interchange, where answers are not single tokens."""
