"""Measure the bundled model and write what docs/target-model.md shows: nothing there is typed by hand.

    python scripts/measure_target_model.py --out docs/figures [--release PATH]

For each bundled type: knowledge, tables at the middle site, full_vector over the layers (validation pairs of
held-out templates). With the official release: the same tables on its city data.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from das.engine import EngineAnswerer
from das.engine.base.protocol import Engine
from das.sites import Site
from evaluation.config.suite import MethodSpec, SuiteConfig
from evaluation.config.target import TargetConfig
from evaluation.records.scores import ScoreRecord
from evaluation.report.plots.canvas import drawing, new_figure, saved
from evaluation.report.plots.style import GRID, legend_below, own_styles
from evaluation.report.tables import attribute_table, main_table, render
from evaluation.suite.run import RunRequest, RunSummary, run_suite
from ravel.building import build_instance
from ravel.building.config import BuildConfig
from ravel.common.io import write_jsonl, write_text
from ravel.facts.release import read_release
from ravel.facts.tables import Tables, read_bundled
from ravel.instance import Instance

MIDDLE = 2
SIZE = 32


def site(layer: int) -> str:
    return f"block_output.{layer}@entity_last"


def instance_of(tables: Tables, engine: Engine) -> Instance:
    config = BuildConfig(shortlist=300, evaluation_pairs=200)
    return build_instance(tables, EngineAnswerer(engine), config)


def compare(instance: Instance, engine: Engine, out: Path) -> RunSummary:
    """Run mdas, das and the floors at the middle site on both kinds of held-out pairs."""
    suite = SuiteConfig(
        instance="in memory",
        methods=(MethodSpec(name="mdas"), MethodSpec(name="das")),
        sites=(site(MIDDLE),),
        sizes=(SIZE,),
        seeds=(0,),
        generalisations=("context", "entity"),
    )
    return run_suite(RunRequest(suite, out, engine=engine, instance=instance))


def over_layers(instance: Instance, engine: Engine, out: Path) -> list[ScoreRecord]:
    """Score full_vector at every layer and return the validation records."""
    suite = SuiteConfig(
        instance="in memory",
        methods=(MethodSpec(name="full_vector"),),
        floors=False,
        sites=tuple(map(site, range(engine.target.n_layers))),
        generalisations=("context",),
    )
    records = run_suite(RunRequest(suite, out, engine=engine, instance=instance)).scores
    return [record for record in records if record.partition == "val"]


def plot_layers(records: list[ScoreRecord], stem: Path, title: str) -> list[Path]:
    """Draw cause over the layers, a curve per attribute with its intervals as thin bars."""
    by_layer = sorted(records, key=lambda record: Site.parse(record.site).layer)
    looks = own_styles(sorted({record.attribute for record in records}))
    with drawing():
        figure = new_figure(4.2, 3.2)
        axes = figure.add_subplot(1, 1, 1)
        for attribute, style in looks.items():
            own = [r for r in by_layer if r.attribute == attribute and r.value("cause") is not None]
            layers = [Site.parse(record.site).layer for record in own]
            causes = [record.value("cause") for record in own]
            look = {"marker": style.marker, "linestyle": style.line, "color": style.colour}
            axes.plot(layers, causes, label=attribute, **look)
            for layer, record in zip(layers, own, strict=True):
                if record.interval("cause") is not None:
                    axes.vlines(layer, *record.interval("cause"), color=style.colour, linewidth=0.8)
        axes.set(xlabel="layer", ylabel="cause of full_vector (val)", ylim=(-0.03, 1.03), title=title)
        axes.set_xticks(sorted({Site.parse(record.site).layer for record in records}))
        axes.grid(**GRID)
        legend_below(figure)
        return saved(figure, stem)


def knowledge(instance: Instance) -> str:
    """Return the model's accuracy on the shortlisted entities as a Markdown table."""
    rows = ["| attribute | accuracy, shortlisted | accuracy, kept |", "|---|---|---|"]
    for name, found in instance.manifest.knowledge["attributes"].items():
        rows.append(f"| {name} | {found['candidates']['accuracy']:.3f} | {found['kept']['accuracy']:.3f} |")
    return "\n".join(rows)


def report(summary: RunSummary, instance: Instance, heading: str) -> str:
    tables = [main_table(summary.scores, summary.averages), attribute_table(summary.scores, summary.averages)]
    parts = [
        f"# {heading}",
        "Written by `scripts/measure_target_model.py`.",
        "## Knowledge",
        knowledge(instance),
    ]
    return "\n\n".join([*parts, "## Scores", *(render(table, "markdown") for table in tables)]) + "\n"


def measure_type(tables: Tables, engine: Engine, out: Path, name: str, *, layers: bool) -> None:
    """Write the report (and the curves) of one set of facts."""
    with tempfile.TemporaryDirectory() as scratch:
        instance = instance_of(tables, engine)
        if layers:
            records = over_layers(instance, engine, Path(scratch) / "layers")
            write_jsonl(out / f"layers_{name}.jsonl", (record.to_json() for record in records))
            plot_layers(records, out / f"layers_{name}", name)
        summary = compare(instance, engine, Path(scratch) / "middle")
        write_text(out / f"{name}.md", report(summary, instance, f"The bundled model on {name}"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--release", type=Path, help="folder of the official release")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--only", nargs="*", help="names of the sets of facts to measure; all if left out")
    arguments = parser.parse_args()
    engine = TargetConfig(model=arguments.model).open()
    jobs = [(read_bundled(name), name, True) for name in ("city", "invented_person")]
    if arguments.release is not None:
        jobs.append((read_release(arguments.release, "city"), "official_city", False))
    for tables, name, layers in jobs:
        if arguments.only and name not in arguments.only:
            continue
        measure_type(tables, engine, arguments.out, name, layers=layers)
        print(f"{name} measured", flush=True)


if __name__ == "__main__":
    main()
