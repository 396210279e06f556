"""An instance: how it is built, written, read and verified."""
