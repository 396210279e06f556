"""Our judge and scores beside the public code's, on the same model, featurizers and exported pairs; it prints
nothing."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from cases import Case
from measuring import clocked
from reference_code import Corpus, Recipe, ReferenceCode
from torch import Tensor

from das.engine import make_engine
from das.engine.base.batch import PromptEncoder
from das.featurizers import Featurizer, Subspace
from das.interop import read_ravel_reference
from das.methods.common.base import Problem
from das.methods.registry import METHODS
from das.training.workspace import SilentWorkspace
from evaluation.judging.judge import judge
from evaluation.records.scores import Outcome
from evaluation.scoring.interchange.metrics import scores, template_accuracies
from ravel.common.errors import SuiteError
from ravel.common.seeds import python_stream
from ravel.instance import Instance
from ravel.instance.release_pairs import import_release_pairs
from ravel.terms.schema import TRAIN_SPLIT, InterchangePair

__all__ = [
    "LEFT_OUT",
    "MEASURES",
    "WITHIN",
    "Comparison",
    "Judged",
    "Request",
    "apart",
    "comparable",
    "compare",
    "corpus_of",
]

TOKENS = 3
"""Label tokens that are compared, there and here."""
WIDTH = 48
"""Tokens to which the public code pads, where no prompt is longer."""
WITHIN = 0.005
"""Largest difference of two scores: theirs rounds every template's accuracy to two decimals."""
SPLITS = ("context_test", "entity_test")
LEFT_OUT = ("one answer begins the other", "other label tokens")
"""Why a pair is not compared: the rules differ by design, or the label's text has other tokens."""
MEASURES = ("cause", "isolate", "disentangle")


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asked for."""

    attribute: str | None = None
    """The target; None for the instance's first."""
    methods: tuple[str, ...] = ("mdas", "das")
    """Ours to fit; theirs trains on the same goals: all attributes for mdas, the target alone for das."""
    pairs: int = 300
    """Judged pairs of a split at most."""
    train_pairs: int = 600
    """Training pairs at most, all attributes together."""
    recipe: Recipe = field(default_factory=Recipe)
    """How theirs trains."""
    splits: tuple[str, ...] = SPLITS
    """What is judged."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What one evaluator says of one featurizer."""

    scores: dict[str, dict[str, float | None]]
    """Cause, isolate and disentangle by split, templates rounded to two decimals."""
    templates: dict[str, float]
    """Accuracy by split, template and answer, rounded likewise."""
    seconds: float
    """Time of the judging, from text to scores."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One featurizer under both evaluators."""

    method: str
    """What was trained."""
    trained_by: str
    """`ours` or `theirs`."""
    train_seconds: float
    """Time of the training."""
    train_passes: int
    """Pairs that were run in it, each pass counted."""
    ours: Judged
    """By our judge and scores."""
    theirs: Judged
    """By their evaluator and score."""


def sampled(instance: Instance, request: Request) -> Instance:
    """Return the instance with a random choice of its pairs; validation pairs stay, for they choose epochs.

    Raises SuiteError where nothing is left to judge.
    """
    limits = {TRAIN_SPLIT: request.train_pairs, **dict.fromkeys(request.splits, request.pairs)}
    pairs = {
        split: _some(instance.pairs(split), limits.get(split), split)
        for split in instance.splits()
        if split in limits or split.endswith("_val")
    }
    if not any(pairs.get(split) for split in request.splits):
        raise SuiteError(
            expected=f"pairs in {' or '.join(request.splits)}",
            came="an instance with none",
            todo="build it with more entities or templates",
        )
    return Instance(
        manifest=instance.manifest,
        prompts={record.prompt_id: record for record in instance.prompts()},
        pairs=pairs,
    )


def _some(pairs: Sequence[InterchangePair], limit: int | None, split: str) -> tuple[InterchangePair, ...]:
    if limit is None or len(pairs) <= limit:
        return tuple(pairs)
    return tuple(python_stream(0, "against the reference", split).sample(list(pairs), limit))


def comparable(instance: Instance, tokenizer: Any, lead: int, splits: Iterable[str]) -> tuple[Instance, Any]:
    """Return the instance with those judged pairs on which both rules say the same, and what was left out."""
    left = dict.fromkeys(LEFT_OUT, 0)
    kept = {split: instance.pairs(split) for split in instance.splits()}
    for split in splits:
        reasons = {pair.pair_id: _reason(instance, pair, tokenizer, lead) for pair in kept.get(split, ())}
        for reason in filter(None, reasons.values()):
            left[reason] += 1
        kept[split] = tuple(pair for pair in kept.get(split, ()) if reasons[pair.pair_id] is None)
    prompts = {record.prompt_id: record for record in instance.prompts()}
    return Instance(manifest=instance.manifest, prompts=prompts, pairs=kept), left


def _reason(instance: Instance, pair: InterchangePair, tokenizer: Any, lead: int) -> str | None:
    answers = [instance.prompt(which).label_ids[:TOKENS] for which in (pair.base, pair.swapped)]
    shorter = min(map(len, answers))
    if answers[0][:shorter] == answers[1][:shorter]:
        return LEFT_OUT[0]
    for text, ids in zip((pair.if_unchanged, pair.if_swapped), answers, strict=True):
        found = tokenizer(_led(text, lead))["input_ids"][lead : lead + TOKENS]
        if tuple(found) != tuple(ids[: len(found)]) or len(found) < len(ids):
            return LEFT_OUT[1]
    return None


def _led(label: str, lead: int) -> str:
    """Return a label as the public notebook gives it: behind a digit where three tokens are cut off."""
    return f"0{label}" if lead == 3 else label


def corpus_of(instance: Instance, case: Case, splits: Iterable[str], lead: int) -> Corpus:
    """Return the exported pairs of splits as the public code takes them.

    Pairs go through the file that `export_release_pairs` writes. What stands in `split` tells there where
    the site's token is: a template, and the token's distance from the end, which few templates have several
    of. Training pairs are one task per attribute, `Country-train`; others one per template.
    """
    encoder = PromptEncoder(case.target.tokenizer)
    width = max(WIDTH, *(len(found.ids) for found in encoder.encode(_texts(instance))))
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    places: dict[str, int] = {}
    for split in splits:
        for pair, row in zip(instance.pairs(split), _exported(instance, split), strict=True):
            for name, prompt_id in (("split", pair.base), ("source_split", pair.source)):
                prompt = instance.prompt(prompt_id).prompt
                length = len(encoder.encode([prompt.text])[0].ids)
                column = width - length + encoder.position(prompt, case.site.position)
                row[name] = f"{row[name]} @{column - width}"
                places[row[name]] = column
            row |= {name: _led(row[name], lead) for name in ("label", "inv_label")}
            task = pair.attribute if split == TRAIN_SPLIT else pair.base_template
            rows[f"{task}-{split}"].append(row)
    return Corpus(dict(rows), places, width)


def _texts(instance: Instance) -> list[str]:
    return [record.prompt.text for record in instance.prompts()]


def _exported(instance: Instance, split: str) -> list[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.jsonl"
        instance.export_release_pairs(path, split)
        return [asdict(row) for row in import_release_pairs(path)]


class Bench:
    """Both sides on one model, instance and target."""

    def __init__(self, code: ReferenceCode, case: Case, request: Request) -> None:
        self.code, self.request = code, request
        self.tokenizer = deepcopy(case.target.tokenizer)
        """A copy as the public code wants it: padded on the left, with the end where no padding is known."""
        self.tokenizer.padding_side = "left"
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        self.lead = code.label_offset(self.tokenizer)
        """Tokens that it takes off the front of a label."""
        instance, self.left_out = comparable(
            sampled(case.instance, request), self.tokenizer, self.lead, request.splits
        )
        self.case = replace(case, instance=instance)
        """The model, and the pairs that both sides judge."""
        self.attribute = request.attribute or instance.attributes[0]
        """The target."""
        self.splits = [split for split in request.splits if instance.pairs(split)]
        """What is judged."""
        self.judged = corpus_of(instance, self.case, self.splits, self.lead)
        """The judged pairs, exported."""

    def ours(self, featurizer: Featurizer) -> Judged:
        """Judge with a new engine, which has kept nothing."""
        seconds, outcomes = clocked(partial(self._outcomes, featurizer), self.case.target.device)
        found, templates = {}, {}
        for split, some in outcomes.items():
            told = scores(some, self.attribute, rounding="reference")
            found[split] = {name: getattr(told, name) for name in MEASURES}
            templates.update(self._templates(split, some))
        return Judged(found, templates, seconds)

    def _outcomes(self, featurizer: Featurizer) -> dict[str, list[Outcome]]:
        engine = make_engine("resume", self.case.target)
        return {
            split: judge(
                self.case.instance,
                split,
                engine,
                self.case.site,
                featurizer,
                label_tokens=TOKENS,
                tolerance=False,
            )
            for split in self.splits
        }

    def _templates(self, split: str, outcomes: Sequence[Outcome]) -> dict[str, float]:
        found = {}
        for attribute in {outcome.attribute for outcome in outcomes}:
            for answer in ("swapped", "unchanged"):
                told = template_accuracies(outcomes, attribute, answer, rounding="reference")
                found.update({f"{t}-{split}: {answer}": m.value for t, m in told.items()})
        return {name: value for name, value in found.items() if value is not None}

    def theirs(self, rows: Tensor) -> Judged:
        """Judge by the public code."""
        seconds, log = clocked(partial(self._log, rows), self.case.target.device)
        found = {split: self._their_scores(log, split) for split in self.splits}
        templates = {
            f"{task}: {answer}": log[task]["metrics"][label]["accuracy"]
            for task in log
            for answer, label in (("swapped", "labels"), ("unchanged", "base_labels"))
        }
        return Judged(found, templates, seconds)

    def _log(self, rows: Tensor) -> dict[str, Any]:
        case = self.case
        return self.code.evaluate(
            case.target, self.tokenizer, case.site.layer, rows, self.judged, tokens=TOKENS
        )

    def _their_scores(self, log: dict[str, Any], split: str) -> dict[str, float | None]:
        tasks: dict[str, list[str]] = defaultdict(list)
        for pair in self.case.instance.pairs(split):
            task = f"{pair.base_template}-{split}"
            if task not in tasks[pair.attribute]:
                tasks[pair.attribute].append(task)
        own = {name: found for name, found in tasks.items() if name == self.attribute}
        others = {name: found for name, found in tasks.items() if name != self.attribute}
        told = self.code.score(log, others, own)
        return {name: float(told[name]) if own and others else None for name in MEASURES}

    def compared(self, method: str) -> list[Comparison]:
        """Return a method trained by ours, and by theirs where its loop could be imported."""
        seconds, passes, featurizer = self._fit(method)
        found = [self._both(method, "ours", seconds, passes, featurizer)]
        if self.code.trains:
            seconds, passes, featurizer = self._their_fit(method)
            found.append(self._both(method, "theirs", seconds, passes, featurizer))
        return found

    def _both(self, method: str, side: str, seconds: float, passes: int, found: Featurizer) -> Comparison:
        assert isinstance(found, Subspace)
        assert found.reader is None
        return Comparison(method, side, seconds, passes, self.ours(found), self.theirs(found.basis.T))

    def _fit(self, name: str) -> tuple[float, int, Featurizer]:
        method, steps = METHODS.get(name)(), _Steps()
        instance = self.case.instance.without_test()
        problem = Problem(instance, self.attribute, self.case.site, self.case.plan.size, seed=0)
        fit = partial(method.fit, problem, make_engine("resume", self.case.target), steps)
        seconds, featurizer = clocked(fit, self.case.target.device)
        return seconds, steps.done * getattr(method.config, "batch_size", 0), featurizer

    def _their_fit(self, name: str) -> tuple[float, int, Featurizer]:
        case, instance = self.case, self.case.instance
        corpus = corpus_of(instance, case, [TRAIN_SPLIT], self.lead)
        goals = {
            attribute: "match_source" if attribute == self.attribute else "match_base"
            for attribute in instance.attributes
            if attribute == self.attribute or name == "mdas"
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.pt"
            train = partial(
                self.code.train,
                case.target,
                self.tokenizer,
                case.site.layer,
                case.plan.size,
                corpus,
                goals,
                self.request.recipe,
                path,
            )
            seconds, _ = clocked(train, case.target.device)
            featurizer = read_ravel_reference(path, layer=case.site.layer).featurizer
        rows = sum(len(corpus.rows.get(f"{attribute}-{TRAIN_SPLIT}", ())) for attribute in goals)
        return seconds, rows * self.request.recipe.epochs, featurizer


class _Steps(SilentWorkspace):
    """Counts the steps of a fit."""

    done = 0

    def progress(self, done: int, total: int) -> None:
        """Note how many are done."""
        self.done = done


def compare(code: ReferenceCode, case: Case, request: Request) -> dict[str, Any]:
    """Run both sides and return scores, times, and how far they are apart."""
    bench = Bench(code, case, request)
    found = [one for method in request.methods for one in bench.compared(method)]
    return {
        "model": case.name,
        "site": str(case.site),
        "size": case.plan.size,
        "target": bench.attribute,
        "pairs": {split: len(bench.case.instance.pairs(split)) for split in bench.splits},
        "left_out": bench.left_out,
        "train_pairs": len(bench.case.instance.pairs(TRAIN_SPLIT)),
        "padded_to": bench.judged.width,
        "recipe": asdict(request.recipe),
        "notes": code.notes,
        "apart": apart(found),
        "results": [asdict(one) for one in found],
    }


def apart(found: Sequence[Comparison]) -> dict[str, Any]:
    """Return the largest difference of two scores, and the templates on which the evaluators differ."""
    differences, templates, count = [0.0], [], 0
    for one in found:
        for split, told in one.ours.scores.items():
            for name, value in told.items():
                other = one.theirs.scores[split][name]
                if (value is None) != (other is None):
                    raise SystemExit(f"{one.method}, {split}: {name} is {value} here and {other} there")
                differences.append(abs((value or 0.0) - (other or 0.0)))
        count += len(one.ours.templates)
        templates += [
            f"{one.method} by {one.trained_by}, {name}: {value} here, {one.theirs.templates.get(name)} there"
            for name, value in sorted(one.ours.templates.items())
            if one.theirs.templates.get(name) != value
        ]
    return {"largest": max(differences), "templates": count, "templates_that_differ": templates}
