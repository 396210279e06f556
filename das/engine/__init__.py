"""Engines: they run a target model with a featurizer at a site."""
