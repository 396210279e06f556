"""Runs a suite on planted worlds and puts each fit's angle to the truth beside its score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from das.engine import make_engine
from das.engine.base.protocol import Engine
from das.engine.engines.answering import EngineAnswerer
from das.featurizers.base import Featurizer
from das.featurizers.storage import load_featurizer
from das.methods.registry import METHODS
from das.models.planted import PlantedWorld, load_world, make_world, planted_spec, planted_specs, save_world
from das.models.planted.world import BUNDLED_WORLD, in_axes
from das.sites import Site
from evaluation.config.suite import MethodSpec, SuiteConfig
from evaluation.judging.judge import judge
from evaluation.records.headers import read_cell_header
from evaluation.records.planted import (
    ILLUSION,
    PLANTED_SCHEMA_VERSION,
    TRUTH,
    PlantedRecord,
    ValidityRecord,
    write_planted,
)
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import Outcome
from evaluation.scoring.interchange.metrics import scores
from evaluation.scoring.scores import of_kind
from evaluation.suite.grid import plan_cells, resolve
from evaluation.suite.run import RunRequest, run_suite
from evaluation.validity.planted.text import planted_markdown
from evaluation.validity.planted.truth import as_subspace, nearness
from evaluation.validity.planted.validity import validity
from ravel.building import BuildConfig, build_instance
from ravel.common.errors import SuiteError
from ravel.common.io import write_text
from ravel.common.progress import Progress, counting, silent
from ravel.instance import Instance
from ravel.terms.schema import SOURCE_KINDS, Generalisation, split_name

AXES = "@axes"
"""Ending of a world's name that undoes its rotation."""
BUNDLED_TWICE = (BUNDLED_WORLD, f"{BUNDLED_WORLD}{AXES}")
"""The shipped world, rotated and not."""
_ROWS = "planted.jsonl"
_VALIDITY = "validity.jsonl"
_PAGE = "planted.md"
_GENERALISATIONS: tuple[Generalisation, ...] = ("context", "entity")
# The score saturates long before the angle, so that early stopping would keep the first epoch: off.
_TRAINED = {"epochs": 10, "learning_rate": 0.03, "validation_pairs": 0}
_MASK_EPOCHS = 20
_LABELLED = ("pca", "mean_difference", "lda", "linear_probe", "inlp", "rlap", "leace")
_VARIANTS = ("soft_mdas", "null_mdas", "counterfactual_latent")
_NEURONS = ("neurons_probe", "neurons_anova", "neurons_mutual_info", "neurons_attribution")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedRequest:
    """Which worlds are scored, with which methods."""

    worlds: tuple[str, ...] = BUNDLED_TWICE
    """Names of known worlds, folders of saved ones, or `bundled`; with `@axes` behind it, the rotation is
    undone first."""
    methods: tuple[str, ...] | None = None
    """Names of methods; None for all but autoencoders, whose features are no subspace to compare."""
    quick: bool = False
    """The methods of which most is known only: das, mdas, dbm, mdbm, pca, mean_difference, linear_probe and
    the floors. Running without it later adds the others."""
    seeds: tuple[int, ...] = (0,)
    """A fit per seed."""


@dataclass(frozen=True, slots=True)
class PlantedResult:
    """What was found; all of it is in the folder too."""

    folder: Path
    """Where it lies."""
    rows: tuple[PlantedRecord, ...]
    """As in `planted.jsonl`."""
    validity: tuple[ValidityRecord, ...]
    """As in `validity.jsonl`."""


def score_planted(request: PlantedRequest, out: Path, *, progress: Progress = silent) -> PlantedResult:
    """Score every method on the worlds, each in a run folder of its own below `out`, or go on with it there.

    Unknown worlds are refused before anything is trained. Raises SuiteError for those, for a method that is
    unknown or has no angle to a subspace, and for a folder that holds another request's runs.
    """
    names = list(dict.fromkeys(request.worlds))
    _check_names(names)
    _check_methods(request.methods or ())
    rows: list[PlantedRecord] = []
    for name in names:
        world = _world(name, out, progress)
        rows += _scored(world, request, out / _folder_of(name), progress)
    found = validity(rows)
    write_planted(out / _ROWS, rows)
    write_planted(out / _VALIDITY, found)
    write_text(out / _PAGE, planted_markdown(rows, found))
    return PlantedResult(out, tuple(rows), tuple(found))


def planted_suite(world: PlantedWorld, request: PlantedRequest) -> SuiteConfig:
    """Return the suite that is run on a world: its first planted layer, sizes from one to twice the
    truth."""
    trues = {world.truth(attribute).shape[1] for attribute in world.spec.attributes}
    sizes = {1, *trues, 2 * max(trues)}
    specs = [
        spec for spec in _method_specs(request) if request.methods is None or spec.name in request.methods
    ]
    listed = {spec.name for spec in specs}
    specs += [MethodSpec(name=name) for name in request.methods or () if name not in listed]
    return SuiteConfig(
        instance="instance",
        model=world.target.name,
        methods=tuple(specs),
        sites=(planted_site(world),),
        sizes=tuple(sorted(sizes)),
        seeds=request.seeds,
        generalisations=_GENERALISATIONS,
    )


def _method_specs(request: PlantedRequest) -> list[MethodSpec]:
    trained, masks = _TRAINED, {**_TRAINED, "epochs": _MASK_EPOCHS}
    found = [MethodSpec(name=name, config=dict(trained)) for name in ("das", "mdas")]
    found += [MethodSpec(name=name, config={**masks, "l1_penalty": 0.01}) for name in ("dbm", "mdbm")]
    found += [MethodSpec(name=name) for name in ("pca", "mean_difference", "linear_probe")]
    if request.quick:
        return found
    found.append(MethodSpec(name="boundless_das", config=dict(trained)))
    found.append(MethodSpec(name="pca_mdbm", config={**masks, "l1_penalty": 0.01}))
    found += [MethodSpec(name=name, config=dict(trained)) for name in _VARIANTS]
    found.append(MethodSpec(name="budget_mask", config=dict(masks)))
    listed = {spec.name for spec in found}
    return found + [MethodSpec(name=name) for name in (*_LABELLED, *_NEURONS) if name not in listed]


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        plain = name.removesuffix(AXES)
        if plain != BUNDLED_WORLD and not Path(plain).is_dir():
            planted_spec(plain)
    folders = [_folder_of(name) for name in names]
    if doubles := sorted({folder for folder in folders if folders.count(folder) > 1}):
        raise SuiteError(
            expected="worlds whose folders have different names, for each gets a folder of that name",
            came=f"several called {', '.join(map(repr, doubles))}",
            todo="rename one, or score them with another --out",
        )


def _check_methods(names: Sequence[str]) -> None:
    if bent := [name for name in names if METHODS.get(name).fits_nonlinear_map]:
        raise SuiteError(
            expected="methods whose part is linear, for the truth of a planted world is a subspace",
            came=", ".join(bent),
            todo="leave them out here; a suite fits them to random weights as well, which is their control",
        )


def _folder_of(name: str) -> str:
    plain = name.removesuffix(AXES)
    stem = Path(plain).name if Path(plain).is_dir() else plain
    return stem + ("-axes" if name.endswith(AXES) else "")


def _world(name: str, out: Path, progress: Progress) -> PlantedWorld:
    """Load a world; train one that is known by name only, once, below `out`."""
    plain = name.removesuffix(AXES)
    if plain in planted_specs() and not Path(plain).is_dir():
        folder = out / "worlds" / plain
        if not folder.is_dir():
            made = make_world(planted_spec(plain), counting(progress, f"training {plain}"))
            save_world(made, folder)
        plain = str(folder)
    world = load_world(plain)
    return in_axes(world) if name.endswith(AXES) else world


def _scored(
    world: PlantedWorld, request: PlantedRequest, out: Path, progress: Progress
) -> list[PlantedRecord]:
    engine = make_engine("resume", world.target)
    build = BuildConfig(
        max_new_tokens=2, keep_entities=world.spec.entities, train_pairs=1500, evaluation_pairs=128
    )
    instance = build_instance(world.tables, EngineAnswerer(engine), build)
    config = planted_suite(world, request)
    run_suite(RunRequest(config, out, engine=engine, instance=instance), progress)
    return [*_truth_rows(world, instance, engine), *_rows(world, config, RunFolder(out), instance, engine)]


def _rows(
    world: PlantedWorld, config: SuiteConfig, run: RunFolder, instance: Instance, engine: Engine
) -> Iterator[PlantedRecord]:
    """Yield a row for every fit of the run, whether selection chose it or not: nothing is selected here."""
    resolved = resolve(config, instance, engine.target)
    for cell in plan_cells(resolved, instance, engine.target):
        folder = run.cell(cell.cell_id)
        if read_cell_header(folder.header).get("refused") is not None:
            continue
        featurizer, _ = load_featurizer(folder.path)
        fit = _PlantedFit(world, cell.method, cell.setting, cell.size, cell.seed)
        for generalisation in _GENERALISATIONS:
            split = split_name(generalisation, "test")
            if not folder.outcomes(split).is_file():
                folder.write_outcomes(split, judge(instance, split, engine, cell.site, featurizer))
            outcomes = folder.read_outcomes(split, len(instance.pairs(split)), Outcome)
            for attribute in instance.attributes:
                if cell.serves(attribute):
                    yield fit.scored(attribute, generalisation, featurizer, outcomes)


def _truth_rows(world: PlantedWorld, instance: Instance, engine: Engine) -> Iterator[PlantedRecord]:
    """Yield rows of the truths themselves, and of the hidden pathway's subspace."""
    site = Site.parse(planted_site(world))
    parts = [(TRUTH, attribute, world.truth(attribute)) for attribute in instance.attributes]
    illusion = world.illusion()
    if illusion is not None:
        parts.append((ILLUSION, *illusion))
    for name, attribute, columns in parts:
        featurizer = as_subspace(columns)
        fit = _PlantedFit(world, name, "", int(columns.shape[1]), 0)
        for generalisation in _GENERALISATIONS:
            outcomes = judge(instance, split_name(generalisation, "test"), engine, site, featurizer)
            yield fit.scored(attribute, generalisation, featurizer, outcomes)


def planted_site(world: PlantedWorld) -> str:
    """Return the site where a world's truth holds first."""
    return f"block_output.{world.spec.planted_layers[0]}@entity_last"


@dataclass(frozen=True, slots=True)
class _PlantedFit:
    """A fit on a planted world, before it is scored."""

    world: PlantedWorld
    method: str
    setting: str
    asked: int | None
    seed: int

    def scored(
        self,
        attribute: str,
        generalisation: Generalisation,
        featurizer: Featurizer,
        outcomes: Sequence[Outcome],
    ) -> PlantedRecord:
        """Return the row of a target."""
        near = nearness(featurizer, self.world.truth(attribute))
        cause, isolate = _both(outcomes, attribute)
        if cause is None or isolate is None:
            raise SuiteError(
                expected=f"cause and isolate pairs of {attribute} in {self.world.spec.name}",
                came="none of one kind",
                todo="give the world more entities or attributes",
            )
        spec = self.world.spec
        return PlantedRecord(
            schema_version=PLANTED_SCHEMA_VERSION,
            world=spec.name,
            layout=spec.layout,
            rotated=spec.rotated,
            method=self.method,
            setting=self.setting,
            attribute=attribute,
            asked=self.asked,
            found=near.found,
            true=near.true,
            seed=self.seed,
            generalisation=generalisation,
            cause=cause,
            isolate=isolate,
            by_kind={kind: _both(of_kind(outcomes, kind), attribute) for kind in SOURCE_KINDS},
            similarity=near.similarity,
            largest_angle=near.largest,
            mean_angle=near.mean,
        )


def _both(outcomes: Sequence[Outcome], attribute: str) -> tuple[float | None, float | None]:
    found = scores(outcomes, attribute)
    return found.cause, found.isolate
