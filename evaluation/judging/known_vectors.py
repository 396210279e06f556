"""Training vectors with the values of their entities, kept for all that is judged at one site of one
instance; it knows no case and no answer."""

from __future__ import annotations

from das.engine.base.protocol import Engine
from das.methods.common.concepts import ConceptVectors, concept_vectors
from das.sites import Site
from ravel.instance import Instance


class KnownVectors:
    """The vectors of the last site, by attribute."""

    def __init__(self, engine: Engine) -> None:
        """`engine` reads them."""
        self._engine = engine
        self._kept: dict[tuple[str, Site, str], ConceptVectors] = {}

    def of(self, instance: Instance, attribute: str, site: Site) -> ConceptVectors:
        """Return the vectors at a site, read when they are first asked for; those of another go."""
        key = (instance.fingerprint, site, attribute)
        if key not in self._kept:
            if any(other[:2] != key[:2] for other in self._kept):
                self._kept.clear()
            self._kept[key] = concept_vectors(instance, attribute, site, self._engine)
        return self._kept[key]
