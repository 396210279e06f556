"""The numbers of `validity.py`, from a finished run, the facts, a planted run; it draws nothing and writes
nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from pigeonhole import Resamples, draws_of

from das.engine import make_engine
from das.featurizers.storage import load_featurizer
from das.models.load import load_target
from das.sites import Site
from evaluation.judging.judge import judge
from evaluation.judging.tolerance import tolerance_rules
from evaluation.records.control_checks import read_control_checks
from evaluation.records.diagnosis import DIAGNOSTICS, read_cell_diagnoses
from evaluation.records.measured import INTERCHANGE
from evaluation.records.planted import ILLUSION, TRUTH, PlantedRecord
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import Outcome, ScoreRecord, read_averages, read_scores
from evaluation.scoring.clusters import FloatArray, clusters_of
from evaluation.scoring.interchange.estimates import count, estimate_scores
from evaluation.scoring.interchange.metrics import Rounding, isolate, scores
from evaluation.scoring.interchange.post_hoc import Derived
from evaluation.tracks import TRACKS
from ravel.checking.audit import audit_tables
from ravel.checking.dependence import bound_attributes, preferred, skews
from ravel.checking.leaks import LEAK_CHECKS, find_leaks
from ravel.checking.values import SameValue, bundled_facts, partitions_of_tables, values_of_tables
from ravel.common.errors import SuiteError
from ravel.common.io import read_json, read_jsonl
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.release import read_release
from ravel.facts.tables import Tables, read_bundled
from ravel.instance import Instance
from ravel.terms.schema import TRAIN_SPLIT

__all__ = [
    "SHOWN",
    "aggregation",
    "answers",
    "balance",
    "controls",
    "coverage",
    "dependence",
    "diagnoses",
    "facts_of",
    "instrument",
    "judged_again",
    "layers",
    "leaks",
    "planted",
    "selection",
    "values",
]

SHOWN = ("mdas", "das", "boundless_das")
"""Methods that are looked at one by one, as far as a run has them."""
TEST = "context_test"
THREE = ("Country", "Continent", "Language")
"""The attributes of city that MIB asks for."""
HALVINGS = 400
Rows = list[dict[str, Any]]


def dependence(run: RunFolder, instance: Instance, derived: Derived) -> dict[str, Any]:
    """Return which attributes are bound, and isolate where values stay and where they change.

    Both sides are averaged over the same asked attributes, so that they differ in nothing else.
    """
    told = preferred(derived.dependence)
    facts = bundled_facts(instance)
    same = SameValue(instance, None if facts is None else values_of_tables(facts))
    related = bound_attributes(told)
    chosen = _chosen(run)
    parts = [
        {"method": method, "target": target, "by": by, **sides}
        for method in SHOWN
        for target, cell in chosen.get(method, {}).items()
        for by in (target, *related.get(target, ()))
        for sides in [_sides(_outcomes(run, instance, cell), target, by, same)]
        if sides
    ]
    bound = [d for d in told if d.bound]
    return {
        "bound": [
            {"given": d.given, "told": d.told, "share": d.share, "left_out": d.left_out, "n": d.n}
            for d in bound
        ],
        "parts": parts,
    }


def _sides(outcomes: Sequence[Outcome], target: str, by: str, same: SameValue) -> dict[str, Any]:
    """Return isolate where the value of `by` stays and where it changes; nothing where one side is empty."""
    counted = [o for o in outcomes if o.attribute not in (target, by)]
    stays = [same(by, o.base_entity, o.source_entity) for o in counted]
    parts = {
        name: [o for o, said in zip(counted, stays, strict=True) if said is wanted]
        for name, wanted in (("same", True), ("changes", False))
    }
    common = {o.attribute for o in parts["same"]} & {o.attribute for o in parts["changes"]}
    found = {}
    for name, part in parts.items():
        kept = [o for o in part if o.attribute in common]
        if kept:
            ends = estimate_scores(kept, target, clusters_of(kept))["isolate"].interval
            found[name] = {"isolate": isolate(kept, target).value, "interval": ends, "n": len(kept)}
    return found if len(found) == len(parts) else {}


def facts_of(release: Path | None) -> list[tuple[str, Tables]]:
    """Return tables with the name of their origin: the bundled types, and the official release if named."""
    bundled = [name for name in ENTITY_TYPES.names() if ENTITY_TYPES.get(name).bundled]
    found = [(f"{name} (bundled)", read_bundled(name)) for name in bundled]
    if release is not None:
        official = (name for name in ENTITY_TYPES.names() if _in_release(release, name))
        found += [(f"{name} (release)", read_release(release, name)) for name in official]
    return found


def _in_release(release: Path, name: str) -> bool:
    return (release / f"ravel_{name}_entity_attributes.json").is_file()


def values(tables: Iterable[tuple[str, Tables]]) -> Rows:
    """Return, per attribute, the share of the commonest value, that of new values in test, and how many of
    its templates name an entity of the data."""
    rows: Rows = []
    for origin, facts in tables:
        naming = {part.attribute: part for part in audit_tables(facts).templates}
        for skew in skews(values_of_tables(facts), partitions_of_tables(facts), "facts"):
            part = naming.get(skew.attribute)
            rows.append(
                {
                    "origin": origin,
                    "attribute": skew.attribute,
                    "values": skew.values,
                    "commonest": skew.commonest,
                    "majority": skew.majority,
                    "new_test": skew.new_test,
                    "templates": 0 if part is None else sum(_counts(part.counts)),
                    "with_entity": 0 if part is None else part.with_demonstration,
                }
            )
    return rows


def _counts(counts: Any) -> tuple[int, int, int]:
    return counts.train, counts.val, counts.test


def balance(run: RunFolder, derived: Derived) -> Rows:
    """Return plain and class-balanced disentangle of every method's average, on held-out templates."""
    plain = {(r.method, r.generalisation): r for r in read_averages(run.averages) if _is_total(r)}
    rows: Rows = []
    for record in derived.balanced:
        own = plain.get((record.method, record.generalisation))
        if own is None or not _is_total(record) or record.generalisation != "context":
            continue
        if own.value("disentangle") is None or record.value("disentangle") is None:
            continue
        rows.append(
            {
                "method": record.method,
                "plain": own.value("disentangle"),
                "balanced": record.value("disentangle"),
                "interval": own.interval("disentangle"),
            }
        )
    return rows


def _is_total(record: Any) -> bool:
    return (record.scope, record.partition, record.source_kind) == ("macro", "test", "all")


def layers(files: Sequence[Path]) -> Rows:
    """Return cause and isolate of the whole vector, averaged over attributes, after each block."""
    rows: Rows = []
    for path in files:
        groups: dict[tuple[str, int], list[ScoreRecord]] = {}
        for record in read_scores(path):
            if record.method == "full_vector" and record.generalisation == "context":
                key = record.entity_type, Site.parse(record.site).layer
                groups.setdefault(key, []).append(record)
        rows += [
            {
                "entity_type": kind,
                "layer": layer,
                "cause": fmean(r.value("cause") for r in group if r.value("cause") is not None),
                "isolate": fmean(r.value("isolate") for r in group if r.value("isolate") is not None),
            }
            for (kind, layer), group in sorted(groups.items())
        ]
    return rows


def instrument(run: RunFolder) -> dict[str, Any]:
    """Return what is disturbed where nothing was learnt: by a random subspace of each size, mean over sites
    and attributes on validation pairs, and by the floors on test pairs."""
    sizes: dict[int, list[ScoreRecord]] = {}
    for r in read_scores(run.scores):
        if r.method == "random_subspace" and (r.partition, r.source_kind) == ("val", "all"):
            sizes.setdefault(r.size, []).append(r)
    floors = [
        {
            "method": r.method,
            "generalisation": r.generalisation,
            "cause": r.value("cause"),
            "isolate": r.value("isolate"),
        }
        for r in read_averages(run.averages)
        if _is_total(r) and r.method in TRACKS.get(INTERCHANGE).floors
    ]
    return {
        "random": [{"size": size, **_means(group)} for size, group in sorted(sizes.items())],
        "floors": floors,
    }


def aggregation(run: RunFolder, instance: Instance) -> dict[str, Any]:
    """Return what other rules of averaging would make of the same outcomes, for methods that answered for
    every attribute."""
    three = tuple(name for name in THREE if name in instance.attributes)
    rules: dict[str, Callable[[Mapping[str, Sequence[Outcome]]], float]] = {
        "disentangle": lambda found: _macro(found, "none"),
        "disentangle, templates rounded": lambda found: _macro(found, "reference"),
        "one accuracy, all attributes": lambda found: _pooled(found, instance.attributes, half=False),
        "one accuracy, three attributes": lambda found: _pooled(found, three, half=False),
        "one accuracy, three attributes, half and half": lambda found: _pooled(found, three, half=True),
    }
    if len(three) < len(THREE):
        rules = dict(list(rules.items())[:3])
    rows: Rows = []
    for method, cells in _chosen(run).items():
        if set(cells) != set(instance.attributes):
            continue
        found = {a: _outcomes(run, instance, c) for a, c in cells.items()}
        rows.append({"method": method, **{name: rule(found) for name, rule in rules.items()}})
    return {"rules": list(rules), "rows": rows, "attributes": list(instance.attributes)}


def _outcomes(run: RunFolder, instance: Instance, cell: str) -> list[Outcome]:
    return run.cell(cell).read_outcomes(TEST, len(instance.pairs(TEST)), Outcome)


def _macro(found: Mapping[str, Sequence[Outcome]], rounding: Rounding) -> float:
    each = [
        scores(outcomes, attribute, rounding=rounding).disentangle for attribute, outcomes in found.items()
    ]
    return fmean(value for value in each if value is not None)


def _pooled(found: Mapping[str, Sequence[Outcome]], attributes: Sequence[str], *, half: bool) -> float:
    """Return the share of right pairs, mean over targets; with `half`, those of the target count one half."""
    shares = []
    for target in attributes:
        own = [o.said_swapped for o in found[target] if o.attribute == target]
        others = [
            o.said_unchanged for o in found[target] if o.attribute in attributes and o.attribute != target
        ]
        shares.append((fmean(own) + fmean(others)) / 2 if half else fmean([*own, *others]))
    return fmean(shares)


def _chosen(run: RunFolder) -> dict[str, dict[str, str]]:
    """Return {method: {attribute: cell}} of what was chosen, first seed only."""
    found: dict[str, dict[str, str]] = {}
    for r in sorted(read_scores(run.scores), key=lambda r: -r.seed):
        if r.chosen and (r.partition, r.generalisation, r.source_kind) == ("test", "context", "all"):
            found.setdefault(r.method, {})[r.attribute] = r.cell
    return found


def selection(run: RunFolder, *, seed: int = 0) -> Rows:
    """Return by how much a score is too high if its site, size and setting were chosen on the same pairs.

    Only validation pairs are read. Base entities are halved at random; among k points, drawn at random too,
    the best on one half is taken, and what it scores there is compared with what it scores on the other half.
    """
    points: dict[str, dict[str, dict[str, None]]] = {}
    for r in read_scores(run.scores):
        if (r.partition, r.generalisation, r.source_kind) == ("val", "context", "all"):
            points.setdefault(r.method, {}).setdefault(r.attribute, {})[r.cell] = None
    wanted = (*SHOWN, "dbm", "mdbm", "random_subspace")
    rows: Rows = []
    for method in (name for name in wanted if name in points):
        stream = np.random.default_rng([seed, len(rows)])
        halves = [_on_halves(run, list(cells), a, stream) for a, cells in points[method].items()]
        most = min(scored.shape[1] for scored in halves)
        for k in range(1, most + 1):
            optimism = [_optimism(scored, k, stream) for scored in halves]
            rows.append({"method": method, "points": k, "most": most, "optimism": fmean(optimism)})
    return rows


def _on_halves(
    run: RunFolder, cells: Sequence[str], attribute: str, stream: np.random.Generator
) -> FloatArray:
    """Return disentangle of each cell on both halves, [halving, cell, half]."""
    path = [run.cell(cell).outcomes("context_val") for cell in cells]
    found = [[Outcome.from_json(row, origin=str(p)) for _, row in read_jsonl(p)] for p in path]
    clusters = clusters_of(found[0])
    n = len(clusters.entities)
    first = np.argsort(stream.random((HALVINGS, n)), axis=1) < n // 2
    counts = np.concatenate([first, ~first]).astype(np.float64)
    drawn = Resamples(clusters, counts, np.ones((2 * HALVINGS, len(clusters.templates))))
    scored = np.stack(
        [draws_of(count(one, attribute, clusters), attribute, drawn).disentangle for one in found]
    )
    return np.moveaxis(scored.reshape(len(cells), 2, HALVINGS), 2, 0)


def _optimism(scored: FloatArray, k: int, stream: np.random.Generator) -> float:
    gaps = []
    for one in scored:
        among = one[stream.permutation(len(one))[:k]]
        if np.isnan(among).any():
            continue
        gaps += [row[side] - row[1 - side] for side in (0, 1) for row in [among[among[:, side].argmax()]]]
    return float(np.mean(gaps))


def leaks(instance: Instance, *, seed: int = 0) -> dict[str, Any]:
    """Return what a random split of the training pairs would share, and what the leak checks find."""
    pairs = instance.pairs(TRAIN_SPLIT)
    order = np.random.default_rng(seed).permutation(len(pairs))
    cut = round(0.7 * len(pairs))
    kept, held = [pairs[i] for i in order[:cut]], [pairs[i] for i in order[cut:]]
    entities = {name for p in kept for name in (p.base_entity, p.source_entity)}
    templates = {p.base_template for p in kept}
    prompts = {prompt for p in kept for prompt in (p.base, p.source)}
    found = {leak.kind: leak for leak in find_leaks(instance)}
    return {
        "pairs": len(pairs),
        "held": len(held),
        "entities": fmean({p.base_entity, p.source_entity} <= entities for p in held),
        "templates": fmean(p.base_template in templates for p in held),
        "prompts": fmean(p.base in prompts and p.source in prompts for p in held),
        "checks": [
            {
                "kind": check.kind,
                "severity": check.severity,
                "meaning": check.meaning,
                "unit": check.unit,
                "count": found[check.kind].count if check.kind in found else 0,
                "of": found[check.kind].of if check.kind in found else None,
            }
            for check in LEAK_CHECKS
        ],
    }


def answers(instance: Instance) -> dict[str, Any]:
    """Return, per attribute, how many tokens labels have, which of them tell answers apart, how many labels
    are wrong, and how the attribute is judged."""
    judged = instance.manifest.config.get("label_tokens", 3)
    free = tolerance_rules(instance.entity_type)
    rows: Rows = []
    for attribute in instance.attributes:
        records = [r for r in instance.prompts(TEST) if r.prompt.attribute == attribute]
        pairs = [p for p in instance.pairs(TEST) if p.attribute == attribute]
        told = [
            _first_difference(instance.prompt(p.base).label_ids, instance.prompt(p.swapped).label_ids)
            for p in pairs
        ]
        rows.append(
            {
                "attribute": attribute,
                "pairs": len(pairs),
                "longer": fmean(len(r.label_ids) > judged for r in records),
                "first_token": fmean(place == 0 for place in told),
                "right": fmean(bool(r.correct) for r in records),
                "judged": "freely, with a tolerance" if attribute in free else "forced",
            }
        )
    return {"label_tokens": judged, "rows": rows}


def _first_difference(first: Sequence[int], second: Sequence[int]) -> int:
    places = (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    return next(places, min(len(first), len(second)))


def judged_again(run: RunFolder, instance: Instance, model: str) -> Rows:
    """Return scores of chosen featurizers on training pairs, on the splits of the run, on pairs that hold out
    both, and without tolerance."""
    engine = make_engine("resume", load_target(model))
    tries = [
        ("training pairs", TRAIN_SPLIT, True),
        ("new templates", TEST, True),
        ("new templates, labels forced", TEST, False),
        ("new entities", "entity_test", True),
        ("both new", "entity_context_test", True),
    ]
    rows: Rows = []
    chosen = _chosen(run)
    for method in (name for name in SHOWN if name in chosen):
        for name, split, tolerance in tries:
            if split not in instance.splits():
                continue
            found = []
            for attribute, cell in chosen[method].items():
                folder = run.cell(cell)
                featurizer, _ = load_featurizer(folder.path)
                site = Site.parse(read_json(folder.header)["site"])
                outcomes = judge(instance, split, engine, site, featurizer, tolerance=tolerance)
                found.append(scores(outcomes, attribute))
            rows.append({"method": method, "pairs": name, **_means(found)})
    return rows


def _means(found: Sequence[Any]) -> dict[str, float]:
    names = ("cause", "isolate", "disentangle")
    return {name: fmean(v for s in found if (v := getattr(s, name)) is not None) for name in names}


def planted(folder: Path) -> dict[str, Any]:
    """Return the rank correlations of a scored planted run, its methods at the true size, and every fit."""
    rows = [r for r in PlantedRecord.read(folder / "planted.jsonl") if r.generalisation == "context"]
    if not rows:
        raise SuiteError(
            expected=f"rows on held-out templates in {folder / 'planted.jsonl'}",
            came="none",
            todo="score the planted worlds again with ravel planted score",
        )
    return {
        "validity": [row for _, row in read_jsonl(folder / "validity.jsonl")],
        "at_true_size": _at_true_size(rows),
        "too_large": _too_large(rows),
        "fits": [
            {
                "world": _world(r),
                "method": r.method,
                "similarity": r.similarity,
                "disentangle": r.disentangle,
                "cause": r.cause,
                "isolate": r.isolate,
            }
            for r in rows
        ],
    }


def _world(record: PlantedRecord) -> str:
    turned = "" if record.rotated else ", not rotated"
    return f"{record.world}{turned}"


def _at_true_size(rows: Sequence[PlantedRecord]) -> Rows:
    """Return means per world and method of the fits that have as many dimensions as the truth, and of all
    fits of methods that find their own size."""
    groups: dict[tuple[str, str], list[PlantedRecord]] = {}
    for r in rows:
        if r.asked is None or r.found == r.true or r.method in (TRUTH, ILLUSION):
            groups.setdefault((_world(r), r.method), []).append(r)
    return [{"world": w, "method": m, **_of_planted(group)} for (w, m), group in groups.items()]


def _too_large(rows: Sequence[PlantedRecord]) -> Rows:
    """Return means per world, method and size, for `das` and `mdas`."""
    groups: dict[tuple[str, str, float], list[PlantedRecord]] = {}
    for r in rows:
        if r.method in ("das", "mdas") and r.asked is not None:
            groups.setdefault((_world(r), r.method, r.found / r.true), []).append(r)
    return [
        {"world": w, "method": m, "times": t, **_of_planted(g)} for (w, m, t), g in sorted(groups.items())
    ]


def _of_planted(group: Sequence[PlantedRecord]) -> dict[str, Any]:
    angles = [r.largest_angle for r in group if r.largest_angle is not None]
    return {
        "fits": len(group),
        "similarity": fmean(r.similarity for r in group),
        "angle": fmean(angles) if angles else None,
        "cause": fmean(r.cause for r in group),
        "isolate": fmean(r.isolate for r in group),
        "disentangle": fmean(r.disentangle for r in group),
    }


def coverage(found: Mapping[str, Any]) -> Rows:
    """Return how often intervals hold the truth, over the settings of `coverage.json`."""
    rows: Rows = []
    for name, chosen in (("two templates or more", True), ("one template", False)):
        for label, key in (("the suite's", "coverage"), ("bootstrap percentiles", "percentile_coverage")):
            shares = [
                score[key]["value"]
                for setting in found["coverage"]
                if (setting["templates"] > 1) == chosen
                for score in setting["scores"].values()
            ]
            if shares:
                low, high = min(shares), max(shares)
                rows.append(
                    {
                        "settings": name,
                        "intervals": label,
                        "n": len(shares),
                        "low": low,
                        "mean": fmean(shares),
                        "high": high,
                    }
                )
    return rows


def controls(path: Path) -> Rows:
    """Return the checks on cause of a run's controls, averaged over attributes, and whether each is at its
    floor."""
    return [
        {
            "control": c.control,
            "method": c.method,
            "judged": c.judged,
            "generalisation": c.generalisation,
            "score": c.score,
            "floor": c.floor,
            "ordinary": c.ordinary,
            "at_floor": c.at_floor,
            "required": c.required,
        }
        for c in read_control_checks(path)
        if c.attribute == "*" and c.measure == "cause"
    ]


def diagnoses(run: RunFolder) -> dict[str, Any]:
    """Return, for each check, how many diagnoses of a run pass and fail it, and each row's verdict."""
    results: dict[str, Counter[str]] = {}
    rows: Rows = []
    for path in sorted(run.path.glob(f"cells/*/{DIAGNOSTICS}")):
        for one in read_cell_diagnoses(path).diagnoses:
            if one.method in TRACKS.get(INTERCHANGE).floors:
                continue
            for check in one.checks:
                results.setdefault(check.name, Counter())[check.result] += 1
            full = next((p for p in one.patches if p.name == "full"), None)
            rows.append(
                {
                    "method": one.method,
                    "entity_type": one.entity_type,
                    "attribute": one.attribute,
                    "seed": one.seed,
                    "disentangle": None if full is None else full.disentangle,
                    "failed": [c.name for c in one.checks if c.result == "failed"],
                    "passed": sum(c.result == "passed" for c in one.checks),
                }
            )
    return {"checks": {name: dict(count) for name, count in results.items()}, "rows": rows}
