"""Model and data cards in Markdown, ready for a hub: for an instance, a featurizer and a run.

They compute no score and load no model.
"""

from __future__ import annotations

from pathlib import Path

from evaluation.report.cards.featurizer import OnHub, featurizer_card, featurizer_results
from evaluation.report.cards.instance import instance_card
from evaluation.report.cards.run import run_card
from ravel.common.errors import SuiteError

__all__ = ["OnHub", "card_of", "featurizer_card", "featurizer_results", "instance_card", "run_card"]


def card_of(folder: Path, on_hub: OnHub | None = None) -> str:
    """Return the card of an instance, a featurizer or a run; of a featurizer with what it is linked with on
    a hub. Raises SuiteError if the folder holds none."""
    if (folder / "config.yaml").is_file():
        return run_card(folder)
    if (folder / "manifest.json").is_file():
        return instance_card(folder)
    if (folder / "featurizer.json").is_file():
        return featurizer_card(folder, on_hub=on_hub)
    raise SuiteError(
        expected=f"the folder of an instance, a featurizer or a run at {folder}",
        came="a folder without config.yaml, manifest.json and featurizer.json"
        if folder.is_dir()
        else "no folder there",
        todo="give a folder written by ravel build, ravel fit or ravel run",
    )
