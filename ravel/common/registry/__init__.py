"""Members of one kind, found in our packages and in those of others; it knows nothing of what they are."""

from ravel.common.registry.registry import Registry

__all__ = ["Registry"]
