"""What a user asks for: suites, targets, presets, execution. Loads without torch."""
