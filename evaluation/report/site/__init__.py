"""A static site of many results: boards of methods, pages of methods and models, and the figures as files."""
