"""Tables and a model that answers become an instance."""
