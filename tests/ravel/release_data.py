"""Where tests look for the official release, which is no part of this project; the mark that skips them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

RELEASE = Path(
    os.environ.get("RAVEL_RELEASE", Path(__file__).resolve().parents[2].parent / "shared" / "ravel")
)
TYPES = ("city", "nobel_prize_winner", "verb", "physical_object", "occupation")

needs_release = pytest.mark.skipif(
    not (RELEASE / "ravel_city_entity_attributes.json").is_file(),
    reason=(
        "THE OFFICIAL RAVEL RELEASE IS NOT THERE: unpack data.tgz of github.com/explanare/ravel into "
        "../shared/ravel beside the repository, or set RAVEL_RELEASE to its folder"
    ),
)
