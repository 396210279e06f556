"""Tables and drawings of what `engine.py` and `scaling.py` measured; it measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import markdown_table

from evaluation.report.plots.canvas import drawing, new_figure, saved

__all__ = ["draw_rates", "draw_scaling", "pages", "report", "scaling_page"]

WORK = ("training", "scoring")
NAMES = {"public": "public way", "reference": "`reference`", "direct": "`direct`", "resume": "`resume`"}
COLOURS = {"public": "#999999", "reference": "#56b4e9", "direct": "#e69f00", "resume": "#0072b2"}
TARGETS: dict[tuple[str, str], dict[str, int]] = {
    ("bundled", "training"): {"public": 25, "reference": 10},
    ("bundled", "scoring"): {"public": 60, "reference": 20},
    ("gpt2", "training"): {"public": 20, "reference": 8},
    ("gpt2", "scoring"): {"public": 50, "reference": 15},
}
"""How many times as many pairs per second `resume` is to do."""
LOAD_TARGETS = {"smollm2-135m": 2}
"""Seconds that the self-test may take."""
UTILISATION_TARGET = 0.5
LARGE = ("gpt2", "llama-1b", "llama-7b")
"""Cases of 12 x 768 and above, for which that target holds."""


def report(found: dict[str, Any]) -> str:
    """Return everything as text: the environment, then the tables of the page."""
    return "\n".join(pages(found).values())


def pages(found: dict[str, Any]) -> dict[str, str]:
    """Return Markdown by the name of the markers that it stands between."""
    if "load" in found:
        return {"load": _environment(found) + _load(found["load"])}
    results = found["results"]
    texts = {"engine": _environment(found) + _rates(results), "utilisation": _utilisation(results)}
    texts["sizes"] = _sizes(results)
    texts["mdas"] = _mdas(results, found["mdas_passes"])
    others, memory = _otherwise(results), _memory(results)
    return texts | ({"otherwise": others} if others else {}) | ({"memory": memory} if memory else {})


def _load(results: Sequence[dict[str, Any]]) -> str:
    header = ["model", "million weights", "seconds", "passes through all blocks", "their tokens", "target"]
    rows = [
        [
            f"{one['name']}, random weights",
            f"{one['weights'] / 1e6:,.1f}",
            f"{one['seconds']:.2f}",
            f"{one['passes']:.1f}",
            f"{one['tokens']:.0f}",
            f"under {LOAD_TARGETS[one['case']]}" if one["case"] in LOAD_TARGETS else "",
        ]
        for one in results
    ]
    return markdown_table(header, rows)


def _environment(found: dict[str, Any]) -> str:
    where = found["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in where["packages"].items())
    device = where["processor"] if where["device"] == "cpu" else where["device"]
    threads, cores = where["threads"], where["cores"]
    kind = "A quick run: few pairs, few repeats. " if found["quick"] else ""
    return (
        f"{kind}Measured on {device} ({cores} cores, {threads} {'thread' if threads == 1 else 'threads'}), "
        f"Python {where['python']}, {packages}.\n\n"
    )


def _rates(results: Sequence[dict[str, Any]]) -> str:
    sides = _sides(results)
    header = ["what", *(NAMES[side] for side in sides), "first", "later"]
    header += ["x public way", "target", "x `reference`", "target"]
    rows = []
    for result in results:
        for work in WORK:
            medians = result["medians"][work]
            ours = medians["resume"]
            row = [f"{work}, {result['name']}"]
            row += [_number(medians[side]["whole"]) for side in sides]
            row += [_number(ours["first"]), _number(ours["later"])]
            for other in ("public", "reference"):
                target = TARGETS.get((result["case"], work), {}).get(other)
                row += [
                    f"{ours['whole'] / medians[other]['whole']:.1f}",
                    "" if target is None else str(target),
                ]
            rows.append(row)
    return markdown_table(header, rows)


def _utilisation(results: Sequence[dict[str, Any]]) -> str:
    header = [
        "what",
        "GFLOP/s of a matrix product",
        "MFLOP a pair",
        "useful, later",
        "useful, whole",
        "target",
    ]
    rows = []
    for result in results:
        for work in WORK:
            share, operations = result["utilisation"][work], result["operations"][work]
            each = operations["least"] * (2 if work == "training" else 1) / result["pairs"][work]["pairs"]
            row = [f"{work}, {result['name']}", f"{max(result['matmul_per_second']) / 1e9:.0f}"]
            row += [f"{each / 1e6:.1f}", f"{share['later']:.0%}", f"{share['whole']:.0%}"]
            rows.append([*row, f"{UTILISATION_TARGET:.0%}" if result["case"] in LARGE else ""])
    return markdown_table(header, rows)


def _sizes(results: Sequence[dict[str, Any]]) -> str:
    header = ["what", "pairs", "different bases", "bases with label", "sources"]
    header += ["tokens", "at most", "from the site on", "label tokens"]
    rows = []
    for result in results:
        for work in WORK:
            size = result["pairs"][work]
            row = [f"{work}, {result['name']}", f"{size['pairs']:,}"]
            row += [f"{size[f'different_{name}']:,}" for name in ("bases", "rows", "sources")]
            row += [f"{size['mean_tokens']:.1f}", f"{size['longest_tokens']}"]
            rows.append([*row, f"{size['mean_tokens_from_site']:.1f}", f"{size['mean_label_tokens']:.1f}"])
    return markdown_table(header, rows)


def _sides(results: Sequence[dict[str, Any]]) -> list[str]:
    """Return the sides that were measured, in the order of tables."""
    return [side for side in NAMES if all(side in result["medians"]["training"] for result in results)]


def _mdas(results: Sequence[dict[str, Any]], passes: int) -> str:
    sides = _sides(results)
    rows = [
        [result["name"], *(_duration(passes / result["medians"]["training"][s]["whole"]) for s in sides)]
        for result in results
    ]
    return markdown_table(["model", *(NAMES[side] for side in sides)], rows)


def _otherwise(results: Sequence[dict[str, Any]]) -> str:
    rows = []
    for result in results:
        for work in WORK:
            other = result.get("public_way_otherwise")
            if other is None:
                continue
            ours = result["medians"][work]["resume"]["whole"]
            row = [f"{work}, {result['name']}", _number(result["medians"][work]["public"]["whole"])]
            for name in ("padded_to_longest", "original_output_too"):
                row += [_number(other[name][work]), f"{ours / other[name][work]:.1f}"]
            rows.append(row)
    header = [
        "what",
        "as above",
        "padded to the longest",
        "`resume` is",
        "original output too",
        "`resume` is",
    ]
    return markdown_table(header, rows) if rows else ""


def _memory(results: Sequence[dict[str, Any]]) -> str:
    rows = [
        [result["name"], *(f"{_mebibytes(result['memory'][side])} MiB" for side in NAMES)]
        for result in results
        if "memory" in result
    ]
    return markdown_table(["model", *NAMES.values()], rows) if rows else ""


def _mebibytes(found: dict[str, int]) -> str:
    return f"{found.get('device_peak', found['peak']) / 2**20:,.0f}"


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}" if rate >= 10 else f"{rate:.2f}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def draw_rates(found: dict[str, Any], stem: Path) -> None:
    """Draw pairs per second of each side as bars, a panel for training and one for scoring."""
    with drawing():
        figure = new_figure(7.0, 2.6)
        for axes, work in zip(figure.subplots(1, 2), WORK, strict=True):
            _bars(axes, work, found["results"])
        figure.axes[0].legend(frameon=False)
        saved(figure, stem.with_suffix(""))


def _bars(axes: Any, work: str, results: Sequence[dict[str, Any]]) -> None:
    for i, side in enumerate(_sides(results)):
        rates = [result["medians"][work][side]["whole"] for result in results]
        places = [group + (i - 1.5) * 0.2 for group in range(len(results))]
        bars = axes.bar(places, rates, width=0.19, color=COLOURS[side], label=NAMES[side].strip("`"))
        axes.bar_label(bars, labels=[_number(rate) for rate in rates], fontsize=5)
    axes.set_yscale("log")
    axes.set_xticks(range(len(results)), [result["case"] for result in results])
    axes.set_ylabel("pairs per second")
    axes.set_title(work)


def scaling_page(found: dict[str, Any]) -> str:
    """Return the tables of `scaling.py`, one per question."""
    return "\n".join(_scaling_table(sweep) for sweep in found["sweeps"])


def _scaling_table(sweep: dict[str, Any]) -> str:
    header = [sweep["label"], "work, GFLOP per 1000 pairs"]
    header += [f"`{engine}`, s per 1000 pairs" for engine in sweep["engines"]]
    header += [f"`{engine}`, MiB" for engine in sweep["engines"]]
    rows = []
    for point in sweep["points"]:
        row = [str(point["value"]), f"{point['operations_per_1000'] / 1e9:.1f}"]
        row += [f"{point['engines'][e]['seconds_per_1000']:.2f}" for e in sweep["engines"]]
        row += [f"{point['engines'][e]['peak_bytes'] / 2**20:,.0f}" for e in sweep["engines"]]
        rows.append(row)
    return markdown_table(header, rows)


def draw_scaling(found: dict[str, Any], stem: Path) -> None:
    """Draw seconds per 1000 pairs against each thing that was varied, with what the work alone would cost."""
    with drawing():
        figure = new_figure(7.0, 5.0)
        for axes, sweep in zip(figure.subplots(2, 2).flat, found["sweeps"], strict=True):
            _curves(axes, sweep)
        figure.axes[0].legend(frameon=False)
        saved(figure, stem.with_suffix(""))


def _curves(axes: Any, sweep: dict[str, Any]) -> None:
    values = [point["value"] for point in sweep["points"]]
    for engine in sweep["engines"]:
        seconds = [point["engines"][engine]["seconds_per_1000"] for point in sweep["points"]]
        axes.plot(values, seconds, marker="o", color=COLOURS[engine], label=engine)
    operations = [point["operations_per_1000"] for point in sweep["points"]]
    first = sweep["points"][0]["engines"]["resume"]["seconds_per_1000"] / operations[0]
    axes.plot(values, [n * first for n in operations], ":", color="#555555", label="as the unavoidable work")
    axes.set_xlabel(sweep["label"])
    axes.set_ylabel("seconds per 1000 pairs")
    axes.set_ylim(bottom=0)
