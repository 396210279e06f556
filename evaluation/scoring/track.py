"""What a track of the benchmark declares: what is judged and measured, by what points are chosen, which rows
bound the others, and the words of its tables and page. It runs nothing; suite, verification and report know
tracks by this alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, final

from typing_extensions import Self

from evaluation.records.measured import FIRST_METRIC
from evaluation.records.scores import JudgedCase, is_control
from ravel.common.config import Config
from ravel.common.errors import one_of, unknown_name

if TYPE_CHECKING:
    # Types alone: what only names tracks starts without scipy.
    from das.engine.base.protocol import Engine
    from das.finding import FindingKind
    from das.sites import Site
    from evaluation.config.judging import Judging
    from evaluation.scoring.clusters import Clustered, Clusters
    from evaluation.scoring.intervals import Estimate
    from ravel.instance import Instance
    from ravel.terms.schema import SourceKind


Case = TypeVar("Case", bound=JudgedCase)


class Judge(Protocol):
    """Turns what a method found into outcomes, with one open model."""

    @property
    def engine(self) -> Engine:
        """Runs the model."""

    def on(self, engine: Engine) -> Judge:
        """Return what judges by the same rules with another engine."""

    def judge(
        self,
        instance: Instance,
        split: str,
        site: Site,
        featurizer: Any,
        progress: Callable[[int, int], None] | None = None,
    ) -> Sequence[Any]:
        """Return an outcome for each of the track's cases of a split, in their order, under a finding of a
        kind that the track takes; `None` is none at all."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number that outcomes give, from 0 to 1."""

    name: str
    """Its key in records and its column in tables."""
    says: str
    """What it is, as a clause."""
    higher_is_better: bool = True
    """Whether more of it is better."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A method that learns nothing of the attribute: a row that bounds the others, a floor or the ceiling."""

    method: str
    """As on the command line."""
    says: str
    """What it does, as what follows its name in a note."""
    added: bool = True
    """Whether it makes sense in every suite, and is added where `floors` is on."""
    verdict: str = ""
    """How the page's verdict calls it; empty where it is not named there."""
    ceiling_of: str | None = None
    """The measure that nothing can have more of than this row, whose points are then chosen by it; None for a
    floor."""


@dataclass(frozen=True, slots=True)
class MetricVersion:
    """A rule from outcomes to measures, under the name that records state. A version never changes: a rule
    that is to be different is the next version, and `ravel rescore` brings old outcomes under it."""

    name: str
    """`v1`, `v2`, ..."""
    says: str
    """What it does, as a clause."""


class TrackConfig(Config):
    """Settings of a track: none, unless it has a class of its own."""


class Track(ABC, Generic[Case]):
    """One question that is asked of a featurizer. A module of `evaluation/tracks/`, or of a plugin, binds one
    to `TRACK`.

    Of one case there is one outcome, which knows no target attribute: the same outcomes are scored for
    several.
    """

    name: ClassVar[str]
    """As in suites: `track: interchange`."""
    summary: ClassVar[str]
    """One line for `ravel list tracks`."""
    question: ClassVar[str]
    """What is asked, as a sentence, at the head of the page."""
    heading: ClassVar[str]
    """What tables are about, at the beginning of their titles."""
    praise: ClassVar[str]
    """What the row that leads does, as what follows its name."""
    unit: ClassVar[str]
    """What cases are called, in the plural."""
    measures: ClassVar[tuple[Measure, ...]]
    """What is measured, in the order of tables."""
    versions: ClassVar[tuple[MetricVersion, ...]] = (
        MetricVersion(FIRST_METRIC, "as the measures of the track say"),
    )
    """The rules by which outcomes can be summed up, the first of them that of every run."""
    metric: str = FIRST_METRIC
    """The one by which this track sums up."""
    criterion: ClassVar[str]
    """The measure by which points are chosen and rows compared."""
    references: ClassVar[tuple[Reference, ...]]
    """Rows that bound the others, in the order of tables."""
    baseline: ClassVar[str]
    """The reference that every row is compared with."""
    nothing_scores: ClassVar[float | None] = None
    """What doing nothing, as the baseline does then, has of the criterion: a row with a worse score is
    marked."""
    outcome: ClassVar[type[JudgedCase]]
    """The record of one outcome, a line of `outcomes/<split>.jsonl`."""
    validated_by: ClassVar[str]
    """What there must be to choose a point by, in words."""
    kinds: ClassVar[tuple[SourceKind, ...]] = ()
    """Kinds of source that chosen points are also scored by; none where outcomes have no `source_kind`."""
    takes: ClassVar[tuple[FindingKind, ...]] = ("featurizer",)
    """What methods must find, if they are to be asked."""
    tables: ClassVar[tuple[str, ...]] = ("main", "attributes", "seeds", "types")
    """The tables that its runs have."""
    plots: ClassVar[tuple[str, ...]] = ("layers", "angles", "training")
    """The figures that its runs have."""
    config_class: ClassVar[type[TrackConfig]] = TrackConfig
    """Its settings in a suite: `track: {name: ..., config: {...}}`."""

    @abstractmethod
    def judge(self, engine: Engine, judging: Judging) -> Judge:
        """Return what judges with this engine, as these settings say."""

    @abstractmethod
    def cases(self, instance: Instance, split: str) -> Sequence[Clustered]:
        """Return what is judged of a split, in the order of outcomes; each case has the fields of an outcome
        but the verdict's. Raises SuiteError for a withheld split."""

    @abstractmethod
    def estimate(self, outcomes: Sequence[Case], attribute: str, clusters: Clusters) -> dict[str, Estimate]:
        """Return every measure of a target attribute, in the order of `measures`; the criterion has a value
        exactly if the attribute is to count in means. Raises SuiteError for an outcome of another cluster."""

    def compare(self, outcomes: Sequence[Case], attribute: str, clusters: Clusters) -> dict[str, Estimate]:
        """Return what `estimate` does for a choice, which needs values and no spread: a track may leave out
        what only intervals come from."""
        return self.estimate(outcomes, attribute, clusters)

    def can_validate(self, asked: Collection[str], attribute: str) -> bool:
        """Tell whether cases that ask for these attributes give a score to choose a point by."""
        return attribute in asked

    def asks_about(self, instance: Instance, attribute: str) -> bool:
        """Tell whether an attribute of an instance has any case at all; one without is in no row, whatever
        was found for it."""
        return True

    @final
    def settings(self, judging: Judging) -> Any:
        """Return the track's settings as its own class. Raises SuiteError for an unknown one."""
        return self.config_class.from_mapping(dict(judging.settings), origin=f"the track {self.name!r}")

    @final
    def under(self, metric: str) -> Self:
        """Return the same track with another metric version. Raises SuiteError with near misses for one that
        the track has not."""
        one_of(f"metric version of the track {self.name}", metric, [v.name for v in self.versions])
        other = copy(self)
        other.metric = metric
        return other

    @final
    @property
    def names(self) -> tuple[str, ...]:
        """The measures' names."""
        return tuple(measure.name for measure in self.measures)

    @final
    @property
    def floors(self) -> tuple[str, ...]:
        """The reference rows' methods, floors and ceiling alike."""
        return tuple(reference.method for reference in self.references)

    @final
    def set_apart(self, method: str) -> bool:
        """Tell whether a row can't be the best of a table: a reference, or a control."""
        return method in self.floors or is_control(method)

    @final
    def criterion_of(self, method: str) -> str:
        """Return by which measure the points of a method are chosen."""
        # The row that says how much can be brought at all must be the most that can be brought.
        ceilings = {reference.method: reference.ceiling_of for reference in self.references}
        return ceilings.get(method) or self.criterion

    @final
    def merit(self, measure: str, value: float) -> float:
        """Return a number that is larger the better a value of a measure is."""
        for known in self.measures:
            if known.name == measure:
                return value if known.higher_is_better else -value
        raise unknown_name(f"measure of the track {self.name}", measure, self.names)
