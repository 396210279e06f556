"""Small tools shared by every room: errors, registries, configs, atomic files, seeds, bundled data."""
