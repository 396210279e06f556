"""How long a suite will take and how much memory it needs, before anything runs; it runs no suite.

Work is counted in passes of one pair through the model: a judged pair is one or two, a training pair one
forward pass and a backward pass, which counts as two more. A pass takes two floating-point operations per
weight and token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from das.methods.common.base import Method, MethodConfig
from das.methods.common.tasks import isolates_each
from das.sites import Site
from evaluation.config.preset import ModelShape
from evaluation.config.suite import SuiteConfig
from evaluation.suite.controls import CONTROLS
from evaluation.suite.grid import Cell
from ravel.common.registry import Registry

_JUDGED = 1.4
"""Passes per judged pair: the second answer is forced only where the first leaves it open."""
_TRAINED = 3.0
"""Passes per training pair: forward, and backward at twice the cost."""
TOKENS_OF_A_PAIR = 32
"""Tokens of a prompt with its forced label, roughly."""
_ATTRIBUTION_PASSES = 3.0
"""Passes per pair of a method that ranks features by gradients, per step of its integral."""
_LOGITS_CHUNK = 2**27
"""Bytes that a chunk's logits may take while judging."""
_CACHES = 2**30
"""Bytes of kept vectors, at most."""
_GPU_BYTES = 80 * 2**30
"""Memory of the GPU that needs are counted in."""
_USABLE = 0.9
"""Share of it that is not taken by the driver and by fragments."""
_MOST_ON_A_GPU = 8
"""Workers that share a GPU at most: more get in each other's way."""


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Pairs of an instance, per attribute."""

    train: int
    """Training pairs of an attribute."""
    evaluation: int
    """Pairs of an attribute in one held-out split."""
    attributes: int
    """Number of attributes."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a suite will cost."""

    cells: int
    """Cells that are still to be fitted."""
    passes: float
    """Passes of a pair through the model."""
    seconds: float
    """Passes over the rate."""
    rate: float
    """Passes per second that was assumed or measured."""
    memory: int
    """Peak memory in bytes: weights, logits, activations under training, kept vectors."""

    @property
    def seconds_per_cell(self) -> float:
        """Seconds of a cell on average, its share of the test pairs included; 0 where nothing is left."""
        return self.seconds / self.cells if self.cells else 0.0

    @property
    def gpus(self) -> float:
        """GPUs of 80 GiB that one worker needs: a share that several can have of one, or whole ones."""
        needed = self.memory / (_USABLE * _GPU_BYTES)
        return float(math.ceil(needed)) if needed > 0.5 else 1.0 / min(_MOST_ON_A_GPU, math.floor(1 / needed))

    def needs(self, device: str) -> str:
        """Say in one line what a cell takes and what a worker needs on a device."""
        if not self.cells:
            return "Nothing is left to fit."
        took = f"A cell takes about {duration(self.seconds_per_cell)}"
        room = f"a worker needs about {self.memory / 2**30:.1f} GiB"
        if device == "cpu":
            return f"{took}; {room}"
        gpus = f"{self.gpus:g} of a GPU" if self.gpus < 1 else f"{self.gpus:g} GPUs"
        return f"{took}; {room}, {gpus} of 80 GiB: `gpus: {self.gpus:g}` in the suite's execution"

    def sentence(self) -> str:
        """Say it in one line."""
        return (
            f"{self.cells} cells to fit, {self.passes:,.0f} passes of a pair at {self.rate:,.0f} a second: "
            f"about {duration(self.seconds)}, peak memory about {self.memory / 2**30:.1f} GiB"
        )


def estimate(
    cells: Sequence[Cell],
    config: SuiteConfig,
    counts: PairCounts,
    shape: ModelShape,
    *,
    rate: float,
    methods: Registry[type[Method]],
) -> Estimate:
    """Estimate the cost of fitting and judging `cells` of a resolved config, at `rate` passes a second.

    The chosen points' test pairs are counted, and so are controls of methods that are still to be fitted;
    fits that look at vectors only are not, for they take no pass.
    """
    fitted = [methods.get(name) for name in dict.fromkeys(cell.method for cell in cells)]
    total = sum(cell_passes(cell, config, counts, methods=methods) for cell in cells)
    test = counts.evaluation * counts.attributes * len(config.generalisations) * _JUDGED
    chosen = sum(
        test
        * (len(config.seeds) if method.draws else 1)
        * (counts.attributes if method.needs_attribute else 1)
        for method in fitted
    )
    controlled = sum(
        _control_passes(control, cell, config, counts, methods)
        for control, cell in control_cells(cells, config)
    )
    passes = total + chosen + controlled
    return Estimate(len(cells), passes, passes / rate, rate, _memory(cells, config, shape))


def control_cells(cells: Sequence[Cell], config: SuiteConfig) -> list[tuple[str, Cell]]:
    """Return for each control the cells it will be on: one per controlled method and attribute.

    Which points those are is chosen on validation pairs; the first of the grid stands for them.
    """
    first: dict[tuple[str, str | None], Cell] = {}
    for cell in cells:
        first.setdefault((cell.method, cell.attribute), cell)
    return [
        (control, cell)
        for control in config.carried_out_controls()
        for cell in first.values()
        if cell.method in config.methods_under(control)
    ]


def _control_passes(
    name: str, cell: Cell, config: SuiteConfig, counts: PairCounts, methods: Registry[type[Method]]
) -> float:
    """Return the passes of a control: its fit, and the test pairs of each view with those of its floor."""
    control = CONTROLS.get(name)
    judged = counts.evaluation * counts.attributes * len(config.generalisations) * _JUDGED
    fitted = _fit_passes(cell, counts, methods) if control.refits else 0.0
    return fitted + 2 * judged * len(control.views)


def cell_passes(
    cell: Cell, config: SuiteConfig, counts: PairCounts, *, methods: Registry[type[Method]]
) -> float:
    """Return the passes of fitting one cell and judging its validation splits."""
    judged = counts.evaluation * counts.attributes * len(config.generalisations) * _JUDGED
    return judged + _fit_passes(cell, counts, methods)


def _fit_passes(cell: Cell, counts: PairCounts, methods: Registry[type[Method]]) -> float:
    method = methods.get(cell.method)
    settings = method.config_class.from_yaml(cell.setting, origin=f"cell {cell.cell_id}")
    if not method.needs_pairs:
        return 0.0
    if settings.asked_pairs is not None:
        return _TRAINED * settings.asked_pairs
    causes = min(counts.train, int(getattr(settings, "cause_pairs", counts.train)))
    pairs = causes + (counts.attributes - 1) * _isolates_each(settings, causes, counts)
    epochs = getattr(settings, "epochs", None)
    if epochs is None:
        return pairs * _ATTRIBUTION_PASSES * int(getattr(settings, "steps", 1))
    validation = min(counts.evaluation, int(getattr(settings, "validation_pairs", 0))) * counts.attributes
    return float(epochs * (pairs * _TRAINED + validation))


def _isolates_each(settings: MethodConfig, causes: int, counts: PairCounts) -> int:
    """Return how many pairs of each other attribute are trained on; none where the method knows no such
    setting."""
    for name in ("isolate_pairs_per_attribute", "attribution_pairs_per_other"):
        if name in type(settings).model_fields:
            asked = getattr(settings, name)
            usual = isolates_each(causes, counts.attributes - 1)
            return min(counts.train, usual if asked is None else int(asked))
    return 0


def _memory(cells: Sequence[Cell], config: SuiteConfig, shape: ModelShape) -> int:
    bytes_each = weight_bytes(config.dtype)
    weights = shape.parameters * bytes_each
    # Under training a block keeps about sixteen vectors of the stream's width per token.
    deepest = min((cell.site.layer for cell in cells), default=0)
    layers = max(shape.layers - deepest, 1)
    training = 32 * TOKENS_OF_A_PAIR * shape.width * 16 * layers * bytes_each
    training += 32 * config.label_tokens * shape.vocabulary * 4 * 3
    return weights + max(training, _LOGITS_CHUNK) + _kept(cells, shape)


def _kept(cells: Sequence[Cell], shape: ModelShape) -> int:
    sites: set[Site] = {cell.site for cell in cells}
    return min(_CACHES, sum(10_000 * shape.size_at(site) * 4 for site in sites))


def weight_bytes(dtype: str) -> int:
    """Return the bytes of one weight; of an unknown dtype as many as of float32."""
    return {"bfloat16": 2, "float16": 2}.get(dtype, 4)


def duration(seconds: float) -> str:
    """Return a time in words, in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
