"""A grid becomes cells becomes a finished run: select, execute, control, forecast."""
