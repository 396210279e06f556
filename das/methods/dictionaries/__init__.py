"""Methods that choose latents of a sparse autoencoder."""
