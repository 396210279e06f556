"""Whether a model uses a found subspace as it seems to: parts, readers, natural states, hidden pathways."""
