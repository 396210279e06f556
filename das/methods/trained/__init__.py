"""Methods that train a rotation through interchange interventions."""
