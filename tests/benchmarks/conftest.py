"""Lets the tests import the scripts, which lie beside the packages."""

from __future__ import annotations

import sys
from pathlib import Path

# At the end, so that a script's name never hides an installed package.
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
