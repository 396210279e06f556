"""The tables of `validity.py` as Markdown, by the markers they stand between; it computes no number but means
and ranks of what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from measuring import markdown_table

__all__ = ["PARTS", "pages"]

PARTS: dict[str, str] = {
    "source": "--run",
    "dependence": "--run",
    "balance": "--run",
    "instrument": "--run",
    "aggregation": "--run",
    "selection": "--run",
    "leaks": "--run",
    "answers": "--run",
    "judged": "--run and --model",
    "values": "--release",
    "layers": "--layers",
    "planted": "--planted",
    "coverage": "--coverage",
    "controls": "--controls",
    "diagnoses": "--diagnosed",
}
"""Every part of the numbers, with the flag that names its source."""
_FEWEST = 20
_NAMED = ("mdas", "das", "boundless_das", "dbm", "mdbm", "lda", "pca", "random_subspace", "full_vector")
_VARIANTS = (
    "disentangle",
    "cause",
    "isolate",
    "3/4 cause + 1/4 isolate",
    "1/4 cause + 3/4 isolate",
    "minimum of both",
    "product of both",
    "above the floor",
)
Rows = Sequence[Mapping[str, Any]]


def pages(whole: Mapping[str, Any]) -> dict[str, str]:
    """Return Markdown by marker; a part that is missing is said to be."""
    blocks: dict[str, tuple[str, Callable[[Any], str]]] = {
        "source": ("source", _source),
        "planted": ("planted", _planted_validity),
        "planted-methods": ("planted", _planted_methods),
        "planted-sizes": ("planted", _planted_sizes),
        "illusion": ("planted", _planted_illusion),
        "diagnoses": ("diagnoses", _diagnoses),
        "dependence": ("dependence", _dependence),
        "values": ("values", _values),
        "balance": ("balance", _balance),
        "layers": ("layers", _layers),
        "instrument": ("instrument", _instrument),
        "aggregation": ("aggregation", _aggregation),
        "selection": ("selection", _selection),
        "splits": ("leaks", _splits),
        "judged": ("judged", _judged),
        "answers": ("answers", _answers),
        "demonstrations": ("values", _demonstrations),
        "leaks": ("leaks", _leaks),
        "coverage": ("coverage", _coverage),
        "controls": ("controls", _controls),
    }
    return {
        marker: made(whole[part]) if part in whole else f"*Not measured: needs `{PARTS[part]}`.*\n"
        for marker, (part, made) in blocks.items()
    }


def _source(found: Mapping[str, Any]) -> str:
    return (
        f"The run is one of `{found['entity_type']}` with the model `{found['model']}`, instance "
        f"`{found['instance']}`, {found['test_pairs']} pairs with held-out templates.\n"
    )


def _dependence(found: Mapping[str, Any]) -> str:
    told = (f"{d['given']} → {d['told']} {d['left_out']:.2f}" for d in found["bound"])
    head = f"Bound by the facts (share of entities guessed right from the others): {', '.join(told)}.\n\n"
    header = ["target", "compared by", "method", "stays the same", "changes", "pairs"]
    rows = [
        [
            part["target"],
            part["by"],
            f"`{part['method']}`",
            _ranged(part["same"]["isolate"], part["same"]["interval"]),
            _ranged(part["changes"]["isolate"], part["changes"]["interval"]),
            f"{part['same']['n']}, {part['changes']['n']}",
        ]
        for part in enough(found["parts"])
        if part["method"] == "mdas"
    ]
    return head + markdown_table(header, rows)


def enough(parts: Rows) -> list[Mapping[str, Any]]:
    """Return the parts with enough pairs on both sides."""
    return [part for part in parts if min(part["same"]["n"], part["changes"]["n"]) >= _FEWEST]


def _values(rows: Rows) -> str:
    common = sorted((r for r in rows if r["majority"] >= 0.35), key=lambda r: -r["majority"])
    new = sorted((r for r in rows if (r["new_test"] or 0) >= 0.25), key=lambda r: -r["new_test"])
    said = (f"{r['attribute']} of {r['origin']} {r['majority']:.2f} ({r['commonest']})" for r in common)
    unseen = (f"{r['attribute']} of {r['origin']} {r['new_test']:.2f}" for r in new)
    return (
        f"Share of the commonest value, where it is 0.35 or more: {', '.join(said)}. Share of test entities "
        f"whose value no training entity has, where it is 0.25 or more: {', '.join(unseen)}.\n"
    )


def _balance(rows: Rows) -> str:
    gaps = [abs(r["plain"] - r["balanced"]) for r in rows]
    largest = max(rows, key=lambda r: abs(r["plain"] - r["balanced"]))
    ours = next((r for r in rows if r["method"] == "mdas"), None)
    text = (
        f"Over {len(rows)} rows of the run, plain and class-balanced disentangle differ by {fmean(gaps):.3f} "
        f"on average and by {max(gaps):.3f} at most (`{largest['method']}`: {largest['plain']:.3f} and "
        f"{largest['balanced']:.3f})"
    )
    if ours is not None:
        text += f"; for `mdas` they are {ours['plain']:.3f} and {ours['balanced']:.3f}"
    return text + ".\n"


def _layers(rows: Rows) -> str:
    numbers = sorted({r["layer"] for r in rows})
    table = []
    for kind in dict.fromkeys(r["entity_type"] for r in rows):
        by_layer = {r["layer"]: r for r in rows if r["entity_type"] == kind}
        cells = (by_layer.get(n) for n in numbers)
        table.append([kind, *("" if r is None else f"{r['cause']:.3f} / {r['isolate']:.3f}" for r in cells)])
    return markdown_table(["cause / isolate", *(f"after block {n}" for n in numbers)], table)


def _instrument(found: Mapping[str, Any]) -> str:
    drawn = ", ".join(f"{r['size']}: {r['cause']:.3f} / {r['isolate']:.3f}" for r in found["random"])
    text = f"Random subspaces by size, cause / isolate: {drawn}."
    new = {"context": "new templates", "entity": "new entities"}
    kept = [
        f"{row['isolate']:.3f} of the answers on {new.get(row['generalisation'], 'both new')}"
        for row in found["floors"]
        if row["method"] == "sae_reconstruction"
    ]
    if kept:
        text += f" An autoencoder's reconstruction in place of the vector keeps {' and '.join(kept)}."
    return text + "\n"


def _aggregation(found: Mapping[str, Any]) -> str:
    rules, rows = found["rules"], found["rows"]
    ordered = sorted(rows, key=lambda r: -r[rules[0]])
    best = {rule: max(r[rule] for r in rows) for rule in rules}
    table = [
        [f"`{row['method']}`"]
        + [f"**{row[rule]:.3f}**" if row[rule] == best[rule] else f"{row[rule]:.3f}" for rule in rules]
        for row in ordered
        if row["method"] in (*_NAMED, "sae_attribution", "no_op")
    ]
    places = ["place of `no_op`"]
    floor = next((r for r in rows if r["method"] == "no_op"), None)
    for rule in rules:
        above = "" if floor is None else 1 + sum(r[rule] > floor[rule] + 1e-12 for r in rows)
        places.append(f"{above} of {len(rows)}")
    return markdown_table(["method", *rules], [*table, places])


def _selection(rows: Rows) -> str:
    told = []
    for method in dict.fromkeys(r["method"] for r in rows):
        own = {r["points"]: r["optimism"] for r in rows if r["method"] == method}
        most = max(own)
        fewer = f" ({own[3]:.3f} of 3)" if most > 3 else ""
        told.append(f"`{method}` {own[most]:.3f}, of {most} points{fewer}")
    return "; ".join(told) + ".\n"


def _splits(found: Mapping[str, Any]) -> str:
    return (
        f"Put 30 % of the instance's {found['pairs']:,} training pairs aside at random ({found['held']:,}): "
        f"both entities occur in the rest for {found['entities']:.0%} of them, the base's template for "
        f"{found['templates']:.0%}, and base and source prompt, word for word, for {found['prompts']:.0%}.\n"
    )


def _judged(rows: Rows) -> str:
    kinds = list(dict.fromkeys(r["pairs"] for r in rows))
    table = []
    for method in dict.fromkeys(r["method"] for r in rows):
        own = {r["pairs"]: r for r in rows if r["method"] == method}
        table.append(
            [f"`{method}`"]
            + [
                f"{own[k]['disentangle']:.3f} ({own[k]['cause']:.2f} / {own[k]['isolate']:.2f})"
                if k in own
                else ""
                for k in kinds
            ]
        )
    return markdown_table(["method", *kinds], table)


def _demonstrations(rows: Rows) -> str:
    told = []
    for origin in dict.fromkeys(r["origin"] for r in rows):
        own = [r for r in rows if r["origin"] == origin]
        told.append(
            f"{origin} {sum(r['with_entity'] for r in own):,} of {sum(r['templates'] for r in own):,}"
        )
    worst = max(
        (r for r in rows if r["templates"]), key=lambda r: (r["with_entity"] / r["templates"], r["templates"])
    )
    return (
        "Templates that name an entity of the data outside the slot: "
        + "; ".join(told)
        + f". Most in {worst['attribute']} of {worst['origin']}: "
        + f"{worst['with_entity']} of {worst['templates']}.\n"
    )


def _leaks(found: Mapping[str, Any]) -> str:
    errors = [c for c in found["checks"] if c["severity"] == "error"]
    wrong = [c for c in errors if c["count"]]
    notes = [c for c in found["checks"] if c["severity"] == "note" and c["count"]]
    text = f"On the run's instance {len(errors) - len(wrong)} of {len(errors)} leak checks find nothing."
    text += "".join(f" `{c['kind']}`: {c['count']:,} of {c['of']:,} {c['unit']}." for c in wrong)
    text += " Notes: " if notes else " There is nothing to note.\n"
    shares = (
        f"`{c['kind']}` {c['count']:,} of {c['of']:,} {c['unit']} ({c['count'] / c['of']:.1%})" for c in notes
    )
    return text + ("; ".join(shares) + ".\n" if notes else "")


def _answers(found: Mapping[str, Any]) -> str:
    header = [
        "attribute",
        "judged",
        f"labels over {found['label_tokens']} tokens",
        "pairs told apart by the first token",
        "labels that are right",
    ]
    return markdown_table(
        header,
        [
            [
                r["attribute"],
                r["judged"],
                f"{r['longer']:.1%}",
                f"{r['first_token']:.1%}",
                f"{r['right']:.1%}",
            ]
            for r in found["rows"]
        ],
    )


def _planted_validity(found: Mapping[str, Any]) -> str:
    rows = found["validity"]
    table = []
    for variant in (v for v in dict.fromkeys(r["variant"] for r in rows) if v in _VARIANTS):
        own = {r["generalisation"]: r for r in rows if r["variant"] == variant}
        table.append(
            [variant]
            + [
                _ranged(r["rank_correlation"], r["interval"], 2) if r is not None else ""
                for r in (own.get("context"), own.get("entity"))
            ]
        )
    worlds = sorted({world for r in rows for world in r["worlds"]})
    fits = max(r["fits"] for r in rows)
    methods = max(r["methods"] for r in rows)
    head = f"{methods} methods, {fits:,} fits per generalisation; worlds: {', '.join(worlds)}.\n\n"
    return head + markdown_table(["score", "new templates", "new entities"], table)


def _planted_methods(found: Mapping[str, Any]) -> str:
    rows = found["at_true_size"]
    worlds = list(dict.fromkeys(r["world"] for r in rows))
    methods = [m for m in _NAMED if any(r["method"] == m for r in rows)]
    table = []
    for method in methods:
        own = {r["world"]: r for r in rows if r["method"] == method}
        table.append([f"`{method}`", *(_angled(own.get(world)) for world in worlds)])
    return markdown_table(["method", *worlds], table)


def _angled(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    angle = "–" if row["angle"] is None else f"{row['angle']:.0f}°"
    return f"{row['similarity']:.2f}, {angle}, {row['cause']:.2f} / {row['isolate']:.2f}"


def _planted_sizes(found: Mapping[str, Any]) -> str:
    groups: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for row in found["too_large"]:
        groups.setdefault((row["method"], row["times"]), []).append(row)
    table = [
        [f"`{method}`", f"{times:g}"]
        + [
            f"{fmean(r[score] for r in own):.3f}"
            for score in ("similarity", "cause", "isolate", "disentangle")
        ]
        for (method, times), own in sorted(groups.items())
    ]
    header = ["method", "size over true size", "similarity", "cause", "isolate", "disentangle"]
    return markdown_table(header, table)


def _planted_illusion(found: Mapping[str, Any]) -> str:
    hidden = {fit["world"] for fit in found["fits"] if fit["method"] == "illusion"}
    rows = []
    for world in sorted(hidden):
        for method in ("truth", "illusion"):
            own = [f for f in found["fits"] if (f["world"], f["method"]) == (world, method)]
            rows.append(
                [world, f"`{method}`"]
                + [
                    f"{fmean(f[score] for f in own):.3f}"
                    for score in ("similarity", "cause", "isolate", "disentangle")
                ]
            )
    if not rows:
        return "*None of the planted worlds that were scored has a hidden pathway.*\n"
    return markdown_table(["world", "subspace", "similarity", "cause", "isolate", "disentangle"], rows)


def _coverage(rows: Rows) -> str:
    told = (
        f"{r['settings']}, {r['intervals']}: {r['mean']:.1%} on average, from {r['low']:.1%} to "
        f"{r['high']:.1%} (n = {r['n']})"
        for r in rows
    )
    return "; ".join(told) + ".\n"


def _controls(rows: Rows) -> str:
    shown = [r for r in rows if r["generalisation"] == "context" or r["control"] == "values_permuted"]
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in shown:
        groups.setdefault((row["control"], row["judged"], row["generalisation"]), []).append(row)
    methods = list(dict.fromkeys(r["method"] for r in shown))
    table = []
    for (control, judged, held_out), own in groups.items():
        by_method = {r["method"]: r for r in own}
        floors = sorted({f"{r['floor']:.3f}" for r in own if r["floor"] is not None})
        table.append(
            [f"`{control}`", judged, f"new {'templates' if held_out == 'context' else 'entities'}"]
            + [_number(by_method[m]["score"] if m in by_method else None, 3) for m in methods]
            + [" to ".join(dict.fromkeys((floors[0], floors[-1]))) if floors else ""]
            + [_all_of(own)]
        )
    ordinary = [
        next((r["ordinary"] for r in shown if r["method"] == m and r["generalisation"] == "context"), None)
        for m in methods
    ]
    first = ["*without a control*", "", "new templates", *(_number(o, 3) for o in ordinary), "", ""]
    header = ["control", "judged by", "on", *(f"`{m}`" for m in methods), "floor", "at its floor"]
    return markdown_table(header, [first, *table])


def _all_of(rows: Rows) -> str:
    verdicts = [r["at_floor"] for r in rows if r["at_floor"] is not None]
    said = f"{sum(verdicts)} of {len(verdicts)}"
    return said if all(r["required"] for r in rows) else f"{said}, need not"


def _diagnoses(found: Mapping[str, Any]) -> str:
    rows = found["rows"]
    failing = {name: n for name, n in found["checks"].items() if n.get("failed")}
    told = (
        f"`{name}` {n['failed']} of {n['failed'] + n.get('passed', 0)}"
        for name, n in sorted(failing.items(), key=lambda item: (-item[1]["failed"], item[0]))
    )
    clean = sum(not r["failed"] for r in rows)
    targets = " and ".join(sorted({f"{r['attribute']} of {r['entity_type']}" for r in rows}))
    unasked = [name for name, n in sorted(found["checks"].items()) if set(n) == {"not applicable"}]
    text = (
        f"{len(rows)} subspaces of {len({r['method'] for r in rows})} methods were diagnosed, for {targets}; "
        f"{clean} fail no check. Failed, of those to which the check applies: {', '.join(told) or 'none'}."
    )
    if unasked:
        text += f" Not applicable to any: {', '.join(f'`{name}`' for name in unasked)}."
    return text + "\n"


def _ranged(value: float | None, ends: Iterable[float] | None, digits: int = 3) -> str:
    if value is None:
        return ""
    if ends is None:
        return f"{value:.{digits}f}"
    low, high = ends
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
