"""Which tokens an answer hangs on: of one prompt, and held against interchanges over an instance."""
