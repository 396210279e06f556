"""The benchmark measured by worlds whose truth is known: every method's angle to it beside its score."""
