"""Whether a model is the one that an artefact was made with, also by the fingerprint of earlier releases; it
loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from das.engine.base.protocol import Engine
from das.models.base import TargetModel
from das.models.instrument import Instrument
from das.sites import SiteSpace
from ravel.common.errors import SuiteError
from ravel.common.progress import Note, Progress

_NOTE = (
    "{name} is known here by the fingerprint of an earlier release, which covers its config and samples of "
    "its weights, not its tokenizer, chat template or attention; build it again to have all checked."
)


class Labelled(Protocol):
    """What must be known of an instance to tell whether a model gave its labels."""

    @property
    def model_name(self) -> str:
        """Name of the model that gave the labels."""

    @property
    def model_fingerprint(self) -> str:
        """Fingerprint of that model."""

    @property
    def instrument(self) -> Mapping[str, str]:
        """Its parts, where the instance says them; else empty."""


def known_by(target: TargetModel, fingerprint: str, say: Callable[[str], None] | None = None) -> TargetModel:
    """Return a target under the fingerprint that an artefact states, where that is its own or its old one;
    for the old one `say` gets a line for the user. Another model is returned as it is, to be refused."""
    known = target.known_as(fingerprint)
    if known is None:
        return target
    if known is not target and say is not None:
        say(_NOTE.format(name=target.name))
    return known


def note_to(progress: Progress) -> Callable[[str], None]:
    """Return what sends a line for the user through a progress."""
    return lambda text: progress(Note(text))


def recognise(engine: Engine, fingerprint: str, say: Callable[[str], None] | None = None) -> None:
    """Let an engine's target stand under the fingerprint that an artefact states, as `known_by` has it."""
    known = known_by(engine.target, fingerprint, say)
    if known is not engine.target:
        engine.target = known


def check_gave_labels(target: SiteSpace, instance: Labelled, todo: str) -> None:
    """Raise SuiteError, naming the parts that differ where the instance says its parts, unless the target
    gave the labels."""
    if target.fingerprint == instance.model_fingerprint:
        return
    said, own = instance.instrument, Instrument(target.parts)
    differing = own.differences(said) if said and own.parts else ()
    parts = f", in which these parts differ: {', '.join(differing)}" if differing else ""
    raise SuiteError(
        expected=f"the model that gave the instance's labels, {instance.model_name} "
        f"({instance.model_fingerprint[:12]})",
        came=f"{target.name} ({target.fingerprint[:12]}){parts}",
        todo=todo,
    )
