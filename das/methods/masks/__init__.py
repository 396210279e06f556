"""Methods that train a mask over given coordinates."""
