"""A built benchmark for one model: its rows, its folder, the release's format of pairs."""

from ravel.instance.instance import ALL_SPLITS, Instance, verify_instance
from ravel.instance.rows import Manifest, PromptRecord, instance_warnings, prompt_ids

__all__ = [
    "ALL_SPLITS",
    "Instance",
    "Manifest",
    "PromptRecord",
    "instance_warnings",
    "prompt_ids",
    "verify_instance",
]
