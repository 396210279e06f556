"""Fine-tuning of a frozen model by small learned changes, of hidden states or of projections."""
