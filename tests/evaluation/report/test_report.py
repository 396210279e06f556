"""The page of a run as a file: what is on it, that nothing is loaded, that no name becomes markup."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from outcome_world import TRACK, average_record
from report_world import (
    ATTRIBUTES,
    HOSTILE_ENTITY,
    HOSTILE_METHOD,
    HOSTILE_MODEL,
    METHODS,
    SVG,
    make_comparisons,
    make_instance,
    make_run,
)

from evaluation.records.scores import AverageRecord, ComparisonRecord, read_averages, read_scores
from evaluation.report.page import pairs as pairs_module
from evaluation.report.page import read_report, write_report
from evaluation.report.page.drawings import inline_svg, read_drawings
from evaluation.report.page.html import embedded_json
from evaluation.report.page.rows import MEAN, rows_of
from evaluation.report.page.verdicts import headline_of, verdicts_of
from evaluation.report.tables import main_table
from evaluation.report.tables.marks import compared
from ravel.common.errors import SuiteError
from ravel.common.io import write_jsonl
from ravel.terms.schema import Generalisation

ROOT = Path(__file__).resolve().parents[3]


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; leave it unchanged."""
    return make_run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="module")
def page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its page."""
    return write_report(run, out=tmp_path_factory.mktemp("page") / "r.html").read_text(encoding="utf-8")


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def payload(page: str) -> dict[str, Any]:
    """Return what the page's script reads."""
    found = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


class TestPage:
    def test_it_lies_in_the_run_by_default_and_is_the_same_each_time(self, copy: Path) -> None:
        first = write_report(copy)
        assert first == copy / "report.html"
        before = first.read_bytes()
        assert write_report(copy).read_bytes() == before

    def test_nothing_is_loaded(self, page: str) -> None:
        for tag, attributes in Elements(page).found:
            assert tag not in ("iframe", "object", "embed", "base", "img")
            assert "src" not in attributes, tag
            for name in ("href", "xlink:href"):
                assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
        assert re.findall(r"url\((?!#)|@import", page.partition("<script")[0]) == []

    def test_the_policy_forbids_the_network_and_names_the_one_script(self, page: str) -> None:
        policies = [a["content"] for t, a in Elements(page).found if a.get("http-equiv")]
        (policy,) = policies
        assert policy is not None
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
        assert "connect-src" not in policy

    def test_no_name_becomes_markup(self, page: str) -> None:
        found = Elements(page).found
        assert [t for t, _ in found].count("script") == 2
        assert not any(name.startswith("on") for _, attributes in found for name in attributes)
        for hostile in (HOSTILE_MODEL, HOSTILE_ENTITY, HOSTILE_METHOD, "</pre><script>"):
            assert hostile not in page

    def test_the_data_survives_its_escapes(self, page: str) -> None:
        data = payload(page)
        assert {method["name"] for method in data["methods"]} == set(METHODS)
        assert data["attributes"] == list(ATTRIBUTES)
        assert any(HOSTILE_ENTITY in text for text, _, _ in data["pairs"]["prompts"])

    def test_every_label_names_a_control_and_every_id_is_unique(self, page: str) -> None:
        ids = [a["id"] for _, a in Elements(page).found if "id" in a]
        assert len(ids) == len(set(ids))

    def test_the_result_is_said_in_words(self, page: str, run: Path) -> None:
        report = read_report(run)
        assert report.headline == (
            f"On new templates and new entities, mdas (tied with {HOSTILE_METHOD}) separates the attributes "
            "best (highest disentangle, mean over attributes)."
        )
        verdict = report.verdicts[0]
        assert (verdict.method, verdict.value, verdict.tied) == ("mdas", 0.825, (HOSTILE_METHOD,))
        assert f"Statistically tied with {HOSTILE_METHOD}." in verdict.sentences
        assert "Floors: doing nothing scores 0.500." in verdict.sentences
        assert "Ceiling: swapping the whole vector reaches cause 1.000." in verdict.sentences
        assert "1 without an answer, and why" in page
        assert "came &lt;none&gt;" in page

    @pytest.mark.parametrize(
        "absent",
        [
            "environment.json",
            "averages.jsonl",
            "comparisons.jsonl",
            "refusals.jsonl",
            "plots",
            "instance",
            "cells",
        ],
    )
    def test_what_is_absent_is_left_out(self, copy: Path, absent: str) -> None:
        path = copy / absent
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        data = payload(write_report(copy).read_text(encoding="utf-8"))
        assert data["rows"]
        assert (data["pairs"] is None) == (absent in ("instance", "cells"))

    def test_records_of_the_first_schema_load(self, copy: Path) -> None:
        added = {"source_kind", "disentangle_p", "disentangle_p_adjusted"}
        for path in copy.glob("*s.jsonl"):
            if path.stem == "refusals":
                continue
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            old = [{k: v for k, v in {**row, "schema_version": 1}.items() if k not in added} for row in rows]
            write_jsonl(path, old)
        report = read_report(copy)
        assert any("no p-values" in note for note in report.notes)
        assert report.verdicts[0].tied == (HOSTILE_METHOD,)

    def test_a_folder_without_a_run_and_an_unfinished_run_are_refused(
        self, copy: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(SuiteError, match=r"(?i)expected a run in"):
            write_report(tmp_path / "nowhere")
        (copy / "scores.jsonl").unlink()
        with pytest.raises(SuiteError, match="not finished"):
            write_report(copy)
        assert not (copy / "report.html").exists()


class TestRows:
    def test_marks_and_comparisons(self, run: Path) -> None:
        rows = rows_of(
            read_averages(run / "averages.jsonl"),
            read_scores(run / "scores.jsonl"),
            make_comparisons(),
            TRACK,
        )
        means = {
            row.record.method: row
            for row in rows
            if row.attribute == MEAN
            and (row.record.generalisation, row.record.partition) == ("context", "test")
        }
        assert means["mdas"].best == (False, True, True)
        assert means["das"].best == (True, False, False)
        assert means["full_vector"].best == means["no_op"].best == (False, False, False)
        assert means["mdas"].against_best is None
        found = means["das"].against_best
        assert found is not None
        assert (found.other, found.difference, found.p, found.differs) == ("mdas", -0.2, 0.001, True)
        # Recorded the other way round: the sign turns.
        above = means["no_op"].against_best
        assert above is not None
        assert above.difference == -0.325

    def test_the_page_and_the_main_table_mark_the_same_numbers(self, run: Path) -> None:
        scores, averages = read_scores(run / "scores.jsonl"), read_averages(run / "averages.jsonl")
        table = main_table(scores, averages)
        marked = {
            (row.label, column.group, column.name): cell.best
            for row in table.rows
            for column, cell in zip(table.columns, row.cells, strict=True)
        }
        found = [r for r in rows_of(averages, scores, [], TRACK) if r.attribute == MEAN]
        tested = [r for r in found if r.record.partition == "test"]
        assert {
            (r.record.method, r.record.generalisation, name): best
            for r in tested
            for name, best in zip(TRACK.names, r.best, strict=True)
        } == marked
        assert any(marked.values())

    def test_a_comparison_without_p_goes_by_its_interval(self) -> None:
        record = next(c for c in make_comparisons() if c.first == "das")
        bare = type(record).from_json(
            {**record.to_json(), "disentangle_p": None, "disentangle_p_adjusted": None}, origin="x"
        )
        split = ("context", "test")
        found = compared("das", "mdas", [bare], split)
        assert found is not None
        assert found.differs
        crossing = type(bare).from_json({**bare.to_json(), "disentangle_interval": (-0.4, 0.0)}, origin="x")
        tied = compared("das", "mdas", [crossing], split)
        assert tied is not None
        assert not tied.differs

    def test_floors_alone_have_no_leader(self) -> None:
        rows = rows_of([read_average("no_op")], [], [], TRACK)
        (verdict,) = verdicts_of(rows, TRACK)
        assert verdict.method is None
        assert headline_of([verdict], TRACK) == "No method with a score was run beside the floors."

    @pytest.mark.parametrize(
        ("gains", "said"),
        [
            ((0.2, 0.2), "On new templates and new entities, mdas separates the attributes best"),
            (
                (0.0, -0.1),
                "No method is shown to beat doing nothing on new templates and new entities",
            ),
            ((0.2, 0.0), "On new entities no method is shown to beat doing nothing."),
        ],
    )
    def test_what_does_nothing_is_never_praised(self, gains: Sequence[float], said: str) -> None:
        """A gain whose interval holds 0, or a loss, is no lead, wherever it stands."""
        places: tuple[Generalisation, ...] = ("context", "entity")
        averages = [
            average_record(method=name, attributes=ATTRIBUTES, generalisation=place)
            for name in ("mdas", "no_op")
            for place in places
        ]
        comparisons = [gained(gain, place) for place, gain in zip(places, gains, strict=True)]
        rows = rows_of(averages, [], comparisons, TRACK)
        assert said in headline_of(verdicts_of(rows, TRACK), TRACK)

    @pytest.mark.parametrize(("loss", "worse"), [(-0.2, True), (-0.01, False)])
    def test_worse_is_said_only_where_it_is_shown(self, loss: float, worse: bool) -> None:
        averages = [
            average_record(method="mdas", attributes=ATTRIBUTES, generalisation="context", disentangle=0.3),
            average_record(method="no_op", attributes=ATTRIBUTES, generalisation="context", disentangle=0.5),
        ]
        (verdict,) = verdicts_of(rows_of(averages, [], [gained(loss, "context")], TRACK), TRACK)
        assert ("Worse than doing nothing: mdas." in verdict.sentences) == worse

    def test_a_long_list_of_ties_names_a_few_and_counts_the_rest(self) -> None:
        split, others = {"attributes": ATTRIBUTES, "generalisation": "context"}, "bcdefghi"
        averages = [average_record(method="a", disentangle=0.9, **split)]
        averages += [average_record(method=name, disentangle=0.8, **split) for name in others]
        known = make_comparisons()[0].to_json()
        ends = {"disentangle": 0.1, "disentangle_interval": (-0.1, 0.3), "disentangle_p_adjusted": 0.4}
        ties = [
            ComparisonRecord.from_json(
                {**known, **ends, "first": "a", "second": name, "generalisation": "context"}, origin="a test"
            )
            for name in others
        ]
        verdicts = verdicts_of(rows_of(averages, [], ties, TRACK), TRACK)
        assert verdicts[0].tied == tuple(others)
        assert "a (tied with b, c, d, e and 4 more)" in headline_of(verdicts, TRACK)


def gained(gain: float, generalisation: Generalisation) -> ComparisonRecord:
    """The comparison of mdas with doing nothing, with another difference."""
    known = [c for c in make_comparisons() if (c.first, c.generalisation) == ("mdas", generalisation)]
    changes = {"disentangle": gain, "disentangle_interval": (gain - 0.03, gain + 0.03)}
    unknown = {"disentangle_p": None, "disentangle_p_adjusted": None}
    return ComparisonRecord.from_json({**known[0].to_json(), **changes, **unknown}, origin="a test")


def read_average(method: str) -> AverageRecord:
    return average_record(method=method, attributes=ATTRIBUTES)


class TestPairs:
    def test_answers_agree_with_the_outcomes(self, run: Path, page: str) -> None:
        found = payload(page)["pairs"]
        instance = make_instance()
        split = next(s for s in found["splits"] if s["name"] == "context_test")
        assert split["total"] == len(split["pairs"]) == len(instance.pairs("context_test"))
        cell = next(c for m, a, _, c in found["cells"] if (m, a) == ("mdas", "Country"))
        lines = (run / "cells" / cell / "outcomes" / "context_test.jsonl").read_text().splitlines()
        letters = "".join(
            "s" if row["said_swapped"] else "u" if row["said_unchanged"] else "n"
            for row in map(json.loads, lines)
        )
        assert split["answers"][cell] == letters
        assert set(letters) == {"s", "u", "n"}

    def test_texts_and_places_of_names_count_as_the_script_counts(self, page: str) -> None:
        found = payload(page)["pairs"]
        for text, start, end in found["prompts"]:
            units = text.encode("utf-16-le")
            assert units[2 * start : 2 * end].decode("utf-16-le") in (
                "Ulm 🏰",
                "Oslo",
                "Lima",
                HOSTILE_ENTITY,
            )

    def test_splits_are_thinned_evenly_over_attributes_and_kinds(
        self, copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pairs_module, "MOST_PAIRS", 30)
        data = read_report(copy).payload["pairs"]
        split = data["splits"][0]
        assert split["total"] == 72
        assert 20 < len(split["pairs"]) <= 30
        assert {pair[1] for pair in split["pairs"]} == {0, 1, 2}
        assert all(len(letters) == len(split["pairs"]) for letters in split["answers"].values())
        ids = [pair[0] for pair in split["pairs"]]
        assert ids == sorted(ids)

    def test_many_cells_leave_room_for_fewer_pairs(self) -> None:
        assert pairs_module._most_pairs(150, 6) == pairs_module.MOST_PAIRS
        n_cells, n_splits = 5000, 6
        most = pairs_module._most_pairs(n_cells, n_splits)
        assert most * n_splits * n_cells < 6_000_000


class TestDrawings:
    def test_only_the_drawing_is_left(self) -> None:
        text = inline_svg(SVG, prefix="p0-", label='a "label"')
        root = ElementTree.fromstring(text)
        assert {node.tag for node in root.iter()} == {
            "svg",
            "defs",
            "clipPath",
            "path",
            "g",
            "use",
            "image",
            "rect",
            "text",
        }
        assert "elsewhere" not in text
        assert "hacked" not in text
        assert "display:none" not in text
        assert "width" not in root.attrib
        assert root.attrib["aria-label"] == 'a "label"'
        assert "<text>cause &lt; 1</text>" in text

    def test_ids_are_prefixed_with_every_reference_to_them(self) -> None:
        text = inline_svg(SVG, prefix="p0-", label="x")
        assert re.findall(r'id="([^"]+)"', text) == ["p0-c", "p0-p", "p0-g"]
        assert 'clip-path="url(#p0-c)"' in text
        assert 'href="#p0-p"' in text

    def test_what_is_no_svg_is_named(self, tmp_path: Path) -> None:
        for name, text in (("a", "<svg"), ("b", "<html/>"), ("layers_x", SVG)):
            (tmp_path / f"{name}.svg").write_text(text)
        drawings = read_drawings(tmp_path)
        assert {d.name: bool(d.svg) for d in drawings} == {"layers_x": True, "a": False, "b": False}
        assert "plots/a.svg is no SVG" in drawings[1].note
        assert drawings[0].caption == "Scores over the layers (x)"

    def test_the_methods_come_first_and_captions_are_those_beside_the_files(self, tmp_path: Path) -> None:
        for name in ("angles_x", "cause_isolate_val", "cause_isolate", "training"):
            (tmp_path / f"{name}.svg").write_text(SVG)
        (tmp_path / "cause_isolate.txt").write_text("What it <shows>.\n")
        drawings = read_drawings(tmp_path)
        assert [d.name for d in drawings] == ["cause_isolate", "cause_isolate_val", "angles_x", "training"]
        assert drawings[0].caption == "What it <shows>."
        assert 'aria-label="What it &lt;shows&gt;."' in drawings[0].svg

    def test_ink_and_paper_follow_the_theme_and_colours_stay(self) -> None:
        svg = '<svg><g id="tip:a &lt;b&gt;: 1"><path style="fill: #ffffff; stroke: #000000"/></g>'
        text = inline_svg(svg + '<path style="stroke: #d55e00"/></svg>', prefix="p-", label="x")
        assert 'style="fill: var(--card); stroke: currentColor"' in text
        assert "stroke: #d55e00" in text
        assert '<g data-tip="a &lt;b&gt;: 1">' in text


def test_embedded_json_can_end_nothing() -> None:
    text = embedded_json({"a": "</script><!--<script>&\u2028\u2029"})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"a": "</script><!--<script>&\u2028\u2029"}


def test_the_script_makes_no_markup_of_texts_and_asks_no_network() -> None:
    page = files("evaluation.report.page")
    scripts = [path.read_text(encoding="utf-8") for path in page.iterdir() if path.name.endswith(".js")]
    script = "\n".join(scripts)
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "fetch(",
        "XMLHttp",
        "import(",
    ):
        assert word not in script
    assert len(scripts) == 5


def test_assets_are_in_the_wheel() -> None:
    """Asks the build back-end for its list of files; building a wheel takes minutes."""
    hatchling = pytest.importorskip("hatchling.builders.wheel")
    listed = {f.distribution_path for f in hatchling.WheelBuilder(str(ROOT)).recurse_included_files()}
    for name in ("page/page.css", "page/page.js", "page/results.js", "page/html.py"):
        assert f"evaluation/report/{name}" in listed
    templates = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "evaluation").glob("report/*/templates/*")
    }
    assert templates
    assert templates <= listed


def test_a_mean_over_fewer_attributes_is_never_the_best() -> None:
    fewer = average_record(method="lda", attributes=("Country",), disentangle=0.95)
    whole = average_record(method="mdas", disentangle=0.8)
    tied = average_record(method="das", disentangle=0.8)
    rows = {row.record.method: row for row in rows_of([fewer, whole, tied], [], [], TRACK)}
    assert rows["lda"].fewer
    assert not any(rows["lda"].best)
    assert rows["mdas"].best[2]
    (verdict,) = verdicts_of(list(rows.values()), TRACK)
    assert verdict.method == "das"
