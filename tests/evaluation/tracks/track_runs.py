"""A run of any track on the small world, and what must hold of its submission."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from cli_world import World, suite_text

from evaluation import api
from evaluation.verify.folders import verify_artefact

__all__ = ["carried_out", "check_submission"]


def carried_out(world: World, out: Path, suite: Mapping[str, object]) -> None:
    """Run a suite with these settings."""
    config = api.SuiteConfig.from_mapping(json.loads(suite_text(world, **suite)), origin="here")
    api.run(api.RunRequest(config, out))


def check_submission(run: Path, packed: Path, world: World) -> None:
    """Submit a run, and assert that the model bears all its claims out."""
    api.submit(run, packed, api.SubmissionInfo("mine"))
    assert verify_artefact(packed, world.instance).problems == ()
    judged = api.score_submission(packed, world.instance, api.TargetConfig(model=str(world.model)))
    assert (judged.claimed > 0, judged.differences) == (True, ())
