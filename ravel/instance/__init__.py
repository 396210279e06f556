"""A built benchmark for one model: its rows, its folder, the release's format of pairs."""

from ravel.instance.instance import ALL_SPLITS, Instance, verify_instance
from ravel.instance.rows import Manifest, PromptRecord, instance_warnings, prompt_ids
from ravel.instance.values import LEAST_ENTITIES, Concepts, concepts_of, entity_values, steered_pairs

__all__ = [
    "ALL_SPLITS",
    "LEAST_ENTITIES",
    "Concepts",
    "Instance",
    "Manifest",
    "PromptRecord",
    "concepts_of",
    "entity_values",
    "instance_warnings",
    "prompt_ids",
    "steered_pairs",
    "verify_instance",
]
