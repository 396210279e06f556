"""Methods that find edits: changes of a vector towards values, without a source."""
