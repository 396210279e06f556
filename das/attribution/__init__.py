"""Which tokens of a prompt, and which places in a model, an answer hangs on, by gradients or by attention."""
