"""Whether a found subspace is used by the model as it seems: parts, readers, natural states, hidden pathways."""
