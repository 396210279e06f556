"""What the tracks about values that enough training entities have share."""

from __future__ import annotations

from evaluation.scoring.detection.cases import values_told
from evaluation.scoring.track import Case, Track
from ravel.instance import Instance


class ConceptTrack(Track[Case]):
    """A track that asks about the values of an attribute, each by itself."""

    def asks_about(self, instance: Instance, attribute: str) -> bool:
        """Tell whether an attribute has concepts: values that enough training entities have."""
        return bool(values_told(instance)[attribute])
