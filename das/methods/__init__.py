"""Methods that train a featurizer through interchange interventions."""
