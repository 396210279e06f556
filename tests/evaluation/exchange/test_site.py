"""A site of runs and submissions: what stands on it, what is left out, and what an earlier one leaves."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cli_world import ravel
from report_world import ATTRIBUTES, HOSTILE_METHOD, METHODS, make_run
from webdriver import CHROMIUM, DRIVER, Browser

from evaluation.exchange.site import BuiltSite, build_site
from evaluation.records.measured import Measured
from evaluation.records.run_records import RunRecords
from evaluation.report.site.boards import COSTS, SIZES, Board, boards_of, plain
from evaluation.report.site.entries import About, Entry, EntryRow, entry_of
from evaluation.report.site.planes import planes_of
from evaluation.report.site.write import Site, history_with, write_site
from evaluation.verify.submission.entry import check_entry
from evaluation.verify.submission.manifest import read_submission
from evaluation.verify.submission.unpack import opened
from ravel.common.errors import SuiteError
from ravel.common.io import read_json, write_json

KEPT = sorted((Path(__file__).parents[3] / "results").glob("*.zip"))
CITY = [path for path in KEPT if "city" in path.name]


def build(sources: list[Path], out: Path, **more: Any) -> BuiltSite:
    return build_site(sources, out, today="2030-01-02", **more)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("site") / "small-run")


@pytest.fixture(scope="module")
def built(run: Path, tmp_path_factory: pytest.TempPathFactory) -> BuiltSite:
    return build([*CITY, run], tmp_path_factory.mktemp("public"))


def about(name: str = "one", **changes: Any) -> About:
    known = About(name, ("A",), "tried", "author", "outcomes", "m" * 64, "i" * 64)
    return replace(known, **changes)


def made_up(name: str = "one", *, models: str = "tiny", scores: dict[str, float], **changes: Any) -> Entry:
    """An entry with a disentangle of each method, 0.05 to either side of it."""
    rows = [
        EntryRow(
            method=method,
            attribute=attribute,
            generalisation=generalisation,
            measures={
                "cause": Measured(score, (score - 0.05, score + 0.05), 9),
                "isolate": Measured(score, (score - 0.05, score + 0.05), 9),
                "disentangle": Measured(score, (score - 0.05, score + 0.05), None),
            },
            point="here; size 4",
            coordinates=4,
        )
        for method, score in scores.items()
        for generalisation in ("context", "entity")
        for attribute in ("", "Colour")
    ]
    return Entry(about(name, **changes), "interchange", "thing", models, tuple(rows), ())


# --- boards


def test_entries_on_the_same_pairs_share_a_board_and_other_versions_do_not() -> None:
    entries = [
        made_up("a", scores={"mdas": 0.7}),
        made_up("b", scores={"das": 0.6}),
        made_up("c", scores={"das": 0.9}, instance_fingerprint="j" * 64),
        made_up("d", scores={"das": 0.9}, model_fingerprint="n" * 64),
    ]
    boards = boards_of(entries)
    assert sorted([e.about.name for e in board.entries] for board in boards) == [["a", "b"], ["c"], ["d"]]
    assert len({board.slug for board in boards}) == 3


def test_a_row_costs_what_its_entry_says_and_is_found_by_it(tmp_path: Path) -> None:
    entries = [
        replace(entry, rows=tuple(replace(row, passes=passes) for row in entry.rows))
        for entry, passes in (
            (made_up("a", scores={"no_op": 0.5}), 0),
            (made_up("b", scores={"mdas": 0.7}), 40_500),
            (made_up("c", scores={"das": 0.6}), None),
        )
    ]
    (board,) = boards_of(entries)
    assert {row.method: row.cost for row in board.of()} == {
        "no_op": "none",
        "mdas": "to 100,000",
        "das": "not said",
    }
    write_site(Site("t", (board,), (), "2030-01-02"), tmp_path)
    page = (tmp_path / "boards" / f"{board.slug}.html").read_text()
    assert 'data-cost="to 100,000"' in page
    assert "40,500" in page
    assert [option for option in COSTS if f"<option>{option}</option>" in page] == [
        "none",
        "to 100,000",
        "not said",
    ]
    rows = pd.read_parquet(tmp_path / "data" / "rows.parquet")
    assert rows.groupby("method").passes.first().dropna().to_dict() == {"mdas": 40_500, "no_op": 0}


def test_contenders_come_best_first_and_references_once_and_last() -> None:
    board = boards_of(
        [
            made_up("a", scores={"no_op": 0.5, "das": 0.6, "mdas": 0.53}),
            made_up("b", scores={"no_op": 0.5, "pca": 0.4, "full_vector": 0.9}),
        ]
    )[0]
    assert [row.method for row in board.of()] == ["das", "mdas", "pca", "full_vector", "no_op"]
    assert [row.method for row in board.rows if row.leads] == ["das", "das"]
    # The interval of das is .55 to .65, that of mdas .48 to .58; doing nothing scores .5.
    assert [row.method for row in board.of() if row.above == {"context", "entity"}] == ["das", "full_vector"]
    leader = board.leader("context")
    assert leader is not None
    assert leader.method == "das"


@pytest.mark.parametrize(
    ("coordinates", "size"),
    [(0, "none"), (1, "1 to 8"), (8, "1 to 8"), (9, "9 to 32"), (128, "33 to 128"), (129, "over 128")],
)
def test_rows_are_sorted_into_sizes(coordinates: int, size: str) -> None:
    (board,) = boards_of([made_up(scores={"mdas": 0.8})])
    assert replace(board.of()[0], coordinates=coordinates).size == size
    assert size in SIZES


def test_a_board_s_filters_name_the_sizes_that_are_there(built: BuiltSite) -> None:
    board = board_with(built, "smollm2-135m-city")
    page = (built.out / "boards" / f"{board.slug}.html").read_text(encoding="utf-8")
    assert {row.size for row in board.of()} >= {"none", "33 to 128", "over 128"}
    for row in board.of():
        assert f"size {row.coordinates}" in row.point or f"–{row.coordinates}" in row.point
        assert f"<option>{row.size}</option>" in page
        assert f'data-size="{row.size}"' in page


def test_a_plane_has_every_method_at_its_numbers_and_no_name_on_another() -> None:
    scores = {f"method_{i}": 0.5 + i / 1000 for i in range(12)} | {"no_op": 0.5}
    for plane in planes_of(boards_of([made_up(scores=scores)])[0]):
        assert {dot.name for dot in plane.dots} == set(scores)
        lines = sorted(dot.line for dot in plane.dots)
        assert all(later - earlier > 8.99 for earlier, later in itertools.pairwise(lines))
        no_op = next(dot for dot in plane.dots if dot.name == "no_op")
        assert no_op.at == pytest.approx((plane.left + plane.right) / 2, abs=0.1)
        assert no_op.up == pytest.approx((plane.top + plane.bottom) / 2, abs=0.1)


def test_a_run_without_averages_is_no_entry(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "cut")
    (tmp_path / "cut" / "averages.jsonl").unlink()
    with pytest.raises(SuiteError, match="go on with the run"):
        entry_of(RunRecords.open(tmp_path / "cut"), about())


# --- the site


def board_with(built: BuiltSite, entry: str) -> Board:
    return next(b for b in built.boards if entry in [e.about.name for e in b.entries])


def test_every_number_of_the_page_and_the_files_is_that_of_the_records(built: BuiltSite, run: Path) -> None:
    board = board_with(built, "small-run")
    with (built.out / "data" / "rows.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["entry"] == "small-run"]
    of_run = {
        (a.method, a.attributes[0] if a.scope == "attribute" else "", a.generalisation): a
        for a in RunRecords.open(run).averages or ()
        if (a.partition, a.source_kind) == ("test", "all")
    }
    assert {(r["method"], r["attribute"], r["generalisation"]) for r in rows} == set(of_run)
    for row in rows:
        record = of_run[row["method"], row["attribute"], row["generalisation"]]  # type: ignore[index]
        value = record.measures[row["measure"]].value
        assert (row["value"] == "") if value is None else (float(row["value"]) == value)
    frame = pd.read_parquet(built.out / "data" / "rows.parquet")
    assert len(frame) == sum(
        len(read_json(p)["rows"]) for p in (built.out / "data").glob("interchange-*.json")
    )
    page = (built.out / "boards" / f"{board.slug}.html").read_text()
    leader = board.leader("context")
    assert leader is not None
    assert f"<b>{leader.value('context', 'disentangle'):.3f}</b>" in page
    assert set(board.attributes) == set(ATTRIBUTES)


def test_a_record_of_an_entry_has_every_number_once_with_its_interval(built: BuiltSite) -> None:
    """Every Eval Ever, schema 0.3.0: what it requires, and nothing that is no text where it wants texts."""
    for board in built.boards:
        for entry in board.entries:
            (path,) = (built.out / "every_eval_ever").glob(f"{board.slug}--{plain(entry.about.name)}.json")
            record = read_json(path)
            assert record["retrieved_timestamp"] == "1893542400"
            results = record["evaluation_results"]
            assert len({r["evaluation_result_id"] for r in results}) == len(results)
            own = [row for row in board.rows if row.entry is entry]
            numbers = [
                measured
                for row in own
                for measures in row.measures.values()
                for measured in measures.values()
                if measured.value is not None
            ]
            assert [r["score_details"]["score"] for r in results] == [m.value for m in numbers]
            for result, measured in zip(results, numbers, strict=True):
                interval = result["score_details"]["uncertainty"].get("confidence_interval")
                stated = None if interval is None else (interval["lower"], interval["upper"])
                assert stated == (None if measured.interval is None else tuple(measured.interval))
                assert {"lower_is_better", "min_score", "max_score"} <= set(result["metric_config"])
            details = (record["source_metadata"], record["model_info"])
            for one in details:
                assert all(isinstance(value, str) for value in one["additional_details"].values())


class Links(HTMLParser):
    """Collects where a page's links lead and what it would load."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.leads: list[str] = []
        self.loads: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "href" and tag == "a":
                self.leads.append(value or "")
            elif name in ("src", "href", "srcset", "action") and not (value or "").startswith("data:"):
                self.loads.append(value or "")


def test_every_link_leads_somewhere_and_no_page_loads_anything(built: BuiltSite) -> None:
    pages = list(built.out.rglob("*.html"))
    assert len(pages) > len(METHODS)
    for page in pages:
        links = Links(page)
        assert links.loads == []
        for target in links.leads:
            path = target.split("#")[0]
            assert not path or (page.parent / path).is_file(), f"{page}: {target}"


def test_what_strangers_wrote_stands_there_as_text(built: BuiltSite) -> None:
    board = board_with(built, "small-run")
    for page in ("index.html", f"boards/{board.slug}.html"):
        text = (built.out / page).read_text()
        assert HOSTILE_METHOD not in text
        assert "&lt;" in text


@pytest.mark.skipif(len(CITY) < 2, reason="no kept submissions here: shared boards were NOT tested")
def test_submissions_of_one_instance_share_a_board(built: BuiltSite) -> None:
    board = board_with(built, "smollm2-135m-city")
    assert [entry.about.name for entry in board.entries] == [
        "smollm2-135m-city",
        "smollm2-135m-city-emulated",
    ]
    assert {entry.about.checked for entry in board.entries} == {"outcomes"}
    assert {entry.about.tuned_by for entry in board.entries} == {"author"}


def test_only_a_verdict_of_the_model_makes_an_entry_verified(tmp_path: Path) -> None:
    with opened(CITY[0]) as unpacked:
        fingerprint = read_submission(unpacked).fingerprint
    for said in (True, False):
        with_it = tmp_path / f"verdict-{said}"
        write_json(with_it / "verdict.json", {"fingerprint": fingerprint, "claims_match": said})
        built = build(CITY[:1], tmp_path / f"site-{said}", verdicts=[with_it])
        checked = built.boards[0].entries[0].about.checked
        assert checked == ("model" if said else "outcomes")


def test_what_cannot_stand_there_is_named_and_the_rest_is_built(run: Path, tmp_path: Path) -> None:
    twin = tmp_path / "elsewhere" / "small-run"
    shutil.copytree(run, twin)
    broken = tmp_path / "broken.zip"
    broken.write_bytes(CITY[0].read_bytes()[:-500])
    empty = tmp_path / "empty"
    empty.mkdir()
    forged = tmp_path / "forged"
    with opened(CITY[0]) as unpacked:
        shutil.copytree(unpacked, forged)
    write_json(forged / "submission.json", {**read_json(forged / "submission.json"), "name": "another"})
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    write_json(damaged / "environment.json", [])
    lost = [twin, broken, empty, forged, damaged]
    done = ravel("site", run, *lost, "--out", tmp_path / "public", "--json")
    assert done.exit_code == 2
    told = json.loads(done.stdout)["problems"]
    assert [problem.split(" was left out: ")[0] for problem in told] == [str(path) for path in lost]
    assert "is there already" in told[0]
    # A paragraph each, not one inside another.
    assert [problem.count("To mend it: ") for problem in told] == [0, 1, 1, 1, 1]
    assert (tmp_path / "public" / "index.html").is_file()
    with pytest.raises(SuiteError, match="at least one"):
        build([empty], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_versions_of_a_task_are_told_apart(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other-run"
    shutil.copytree(run, other)
    environment = read_json(other / "environment.json")
    write_json(other / "environment.json", {**environment, "instance_fingerprint": "f" * 64})
    built = build([run, other], tmp_path / "public")
    assert len(built.boards) == 2
    assert "2 versions" in built.notes[0]


@pytest.mark.parametrize("verdict", [[], {}, {"claims_match": True}, {"fingerprint": 3}])
def test_a_verdict_that_is_none_is_refused(run: Path, tmp_path: Path, verdict: Any) -> None:
    write_json(tmp_path / "verdict.json", verdict)
    with pytest.raises(SuiteError, match="score-submission"):
        build([run], tmp_path / "public", verdicts=[tmp_path])


def test_history_gets_a_line_only_when_another_leads(tmp_path: Path) -> None:
    def lines(*entries: Entry, day: str) -> list[dict[str, Any]]:
        boards = boards_of(entries)
        history = history_with(tmp_path, boards, day)
        write_site(Site("s", tuple(boards), tuple(history), "2030-01-02"), tmp_path)
        return history

    first = made_up("a", scores={"das": 0.6})
    assert [(x["date"], x["method"]) for x in lines(first, day="1")] == [("1", "das")] * 2
    assert len(lines(first, day="2")) == 2
    third = lines(first, made_up("b", scores={"mdas": 0.7}), day="3")
    assert [(x["date"], x["method"], x["entry"]) for x in third[2:]] == [("3", "mdas", "b")] * 2


def test_pages_of_an_earlier_site_go_and_strangers_files_stay(tmp_path: Path) -> None:
    old = boards_of([made_up("a", scores={"das": 0.6})])
    new = boards_of([made_up("b", scores={"mdas": 0.6}, model_fingerprint="z" * 64)])
    write_site(Site("s", tuple(old), (), "2030-01-02"), tmp_path)
    (tmp_path / "CNAME").write_text("x")
    write_site(Site("s", tuple(new), (), "2030-01-02"), tmp_path)
    assert {p.name for p in (tmp_path / "boards").iterdir()} == {f"{new[0].slug}.html"}
    assert {p.name for p in (tmp_path / "methods").iterdir()} == {"mdas.html"}
    assert (tmp_path / "CNAME").is_file()


def test_a_large_site_is_light(tmp_path: Path) -> None:
    """50 models, 40 methods, 6 types: what is looked at first weighs less than 2 MB."""
    methods = {f"method_{i}": 0.3 + i / 100 for i in range(40)}
    entries = [
        replace(
            made_up(f"{m}-{t}", scores=methods, models=f"model-{m}", model_fingerprint=f"{m:064d}"),
            entity_type=f"type-{t}",
            about=about(f"{m}-{t}", model_fingerprint=f"{m:064d}", instance_fingerprint=f"{t:064d}"),
        )
        for m in range(50)
        for t in range(6)
    ]
    boards = boards_of(entries)
    assert len(boards) == 300
    write_site(Site("s", tuple(boards), (), "2030-01-02"), tmp_path)
    assert (tmp_path / "index.html").stat().st_size < 2_000_000
    assert max(p.stat().st_size for p in (tmp_path / "boards").iterdir()) < 500_000


# --- entries


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_submissions_may_be_added(path: Path) -> None:
    found = check_entry(path)
    assert found.problems == ()
    assert any("ravel score-submission" in note for note in found.notes)


def test_an_entry_says_who_made_it_and_what_was_done(tmp_path: Path) -> None:
    with opened(CITY[0]) as unpacked:
        shutil.copytree(unpacked, tmp_path / "entry")
    known = read_submission(tmp_path / "entry")
    bare = replace(known, authors=(), description="", name="bare")
    write_json(tmp_path / "entry" / "submission.json", bare.to_json())
    assert [problem.split(":")[0] for problem in check_entry(tmp_path / "entry").problems] == [
        "nobody is named who made it",
        "nothing says what was done",
    ]


def test_a_second_entry_of_a_name_is_refused(tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        shutil.copyfile(CITY[0], tmp_path / name)
    problems = check_entry(tmp_path / "one.zip").problems
    assert any("two.zip is called" in problem for problem in problems)
    assert any("two.zip is the same" in problem for problem in problems)
    assert not any("two.zip" in p for p in check_entry(tmp_path / "one.zip", beside=KEPT[0].parent).problems)


def test_what_is_no_submission_is_said_so(tmp_path: Path) -> None:
    done = ravel("check-entry", tmp_path)
    assert done.exit_code == 2
    assert "ravel submit" in done.stderr


# --- in a browser


@pytest.fixture
def browser() -> Iterator[Browser]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no Chromium or no chromedriver here: the site was NOT tested in a browser")
    opened = Browser()
    yield opened
    opened.close()


def test_rows_are_sorted_and_filtered_and_nothing_is_wider_than_a_phone(
    browser: Browser, built: BuiltSite
) -> None:
    board = board_with(built, "smollm2-135m-city")
    browser.open((built.out / "boards" / f"{board.slug}.html").as_uri())
    first = "return document.querySelector('main table tbody tr th').textContent.trim()"
    assert str(browser.run(first)).startswith("mdas")
    browser.run("document.querySelectorAll('main table thead button')[1].click()")
    most = max(board.of(), key=lambda row: row.value("context", "cause") or 0.0)
    assert str(browser.run(first)).startswith(most.method)
    browser.run(
        "const s = document.querySelector('select[data-filter=family]'); s.value = 'floors';"
        "s.dispatchEvent(new Event('change'))"
    )
    shown = (
        "return [...document.querySelectorAll('main section table tbody tr')].filter(r => !r.hidden).length"
    )
    floors = [row for row in board.of() if row.reference]
    rest = sum(len(board.of(attribute)) for attribute in board.attributes) + len(board.entries)
    assert browser.run(shown) == len(floors) + rest
    for width in (360, 768, 1440):
        browser.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.log("browser") == []
