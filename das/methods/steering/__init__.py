"""Methods that find edits: changes of a vector towards values or away from them, without a source."""
