"""The model side: sites, featurizers, target models, engines, and the methods that train a featurizer."""
