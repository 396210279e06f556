"""Methods that fail in some way; files in a folder that their settings name say how often."""
