"""`submission.json` as values: what a submission claims to hold, and the hash of every file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from evaluation.config.judging import Judging
from evaluation.records.measured import INTERCHANGE
from evaluation.verify.submission.names import MANIFEST
from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json, read_json, sha256_text, write_json
from ravel.common.schemas import schema_problems
from ravel.common.typed import check_version
from ravel.terms.schema import Generalisation

SUBMISSION_SCHEMA_VERSION = 2
"""In version 1 outcomes had the texts of templates; since then they have their names."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One featurizer of a submission."""

    path: str
    """Its folder, `featurizers/<n>`."""
    method: str
    """The method that found it; any name will do."""
    attributes: tuple[str, ...]
    """The target attributes it is submitted for; several only where it serves all."""
    site: str
    """Where it acts."""
    size: int
    """Number of coordinates it swaps."""
    seed: int
    """Root of the fit's random streams."""

    @property
    def number(self) -> str:
        """What stands after the slash of `path`."""
        return self.path.rsplit("/", 1)[-1]

    def outcomes(self, split: str) -> str:
        """Return the name of the file with its outcomes on a split."""
        return f"outcomes/{self.number}/{split}.jsonl"


@dataclass(frozen=True, slots=True)
class MissingFeaturizer:
    """An attribute for which a method has no featurizer."""

    method: str
    """One of the submission's methods."""
    attribute: str
    """One of the instance's attributes."""
    reason: str
    """Why."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What `submission.json` says."""

    name: str
    """What the submission is called."""
    authors: tuple[str, ...]
    """Who made it."""
    description: str
    """What was done, for people."""
    entity_type: str
    """As in the instance."""
    attributes: tuple[str, ...]
    """All attributes of the instance, each to be covered by each method."""
    generalisations: tuple[Generalisation, ...]
    """On which test splits it is to be judged."""
    instance_fingerprint: str
    """Fingerprint of the instance."""
    model_name: str
    """The target model as the submitter calls it."""
    model_fingerprint: str
    """Fingerprint of the target model."""
    judging: Judging
    """How outcomes are judged."""
    methods: tuple[str, ...]
    """Every method, in the order of tables."""
    featurizers: tuple[Entry, ...]
    """Every featurizer."""
    without: tuple[MissingFeaturizer, ...]
    """What is not covered, with reasons."""
    files: Mapping[str, str]
    """SHA-256 of every other file."""
    schema_version: int = SUBMISSION_SCHEMA_VERSION
    """Version of this layout."""
    track: str = INTERCHANGE
    """What was asked of the featurizers; not written down where it is the first track."""
    build: Mapping[str, Any] = field(default_factory=dict)
    """Settings with which the instance is built again; not written down where there are none. New in version
    2."""

    @property
    def names_templates(self) -> bool:
        """Whether outcomes have templates by name, so that no text of a prompt is in the submission."""
        return self.schema_version > 1

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that the manifest says, and so over every file."""
        return sha256_text(canonical_json(self._content()))

    def entries(self, method: str, attribute: str) -> list[Entry]:
        """Return the featurizers of a method for an attribute, one per seed."""
        return [e for e in self.featurizers if e.method == method and attribute in e.attributes]

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as plain values, the fingerprint included."""
        return {**self._content(), "fingerprint": self.fingerprint}

    def _content(self) -> dict[str, Any]:
        plain = asdict(self)
        if not self.build:
            del plain["build"]
        if self.track == INTERCHANGE:
            del plain["track"]
            if not self.judging.settings:
                del plain["judging"]["settings"]
        return plain

    def write(self, folder: Path) -> None:
        """Write `submission.json`."""
        write_json(folder / MANIFEST, self.to_json())


def read_submission(folder: Path) -> Submission:
    """Read `submission.json`. Raises SuiteError for other fields or types than its schema has, for a newer
    version, and for a fingerprint that is not that of what it says."""
    values = read_json(folder / MANIFEST)
    if isinstance(values, dict) and "schema_version" in values:
        version = values["schema_version"]
        check_version(version, SUBMISSION_SCHEMA_VERSION, what="a submission", origin=MANIFEST)
    problems = schema_problems(values, "submission", origin=MANIFEST)
    if problems:
        raise _unfit("; ".join(problems))
    found = _submission_of(values)
    if found.fingerprint != values["fingerprint"]:
        raise _unfit(f"the fingerprint {values['fingerprint']}, where the content gives {found.fingerprint}")
    return found


def _submission_of(values: Mapping[str, Any]) -> Submission:
    plain = {own.name: values[own.name] for own in fields(Submission) if own.name in values}
    for name in ("authors", "attributes", "generalisations", "methods"):
        plain[name] = tuple(plain[name])
    plain["judging"] = Judging(**values["judging"])
    plain["featurizers"] = tuple(
        Entry(**{**row, "attributes": tuple(row["attributes"])}) for row in values["featurizers"]
    )
    plain["without"] = tuple(MissingFeaturizer(**row) for row in values["without"])
    return Submission(**plain)


def _unfit(came: str) -> SuiteError:
    return SuiteError(
        expected=f"a {MANIFEST} as `ravel submit` writes it, unchanged",
        came=came,
        todo="make the submission again with `ravel submit`",
    )
