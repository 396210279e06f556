"""Tokenizers that do what their files say, and the texts by which they are told apart."""
