"""The page in headless Chromium: sorting, filters, pairs, keyboard, a phone's width, dark mode, silence."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from report_world import ATTRIBUTES, HOSTILE_ENTITY, HOSTILE_LABEL, HOSTILE_METHOD, METHODS, make_run
from webdriver import CHROMIUM, DRIVER, Browser

from evaluation.report.page import write_report

MISSING = "no Chromium or no chromedriver here: the page was NOT tested in a browser"
if CHROMIUM is None or DRIVER is None:
    warnings.warn(MISSING, stacklevel=1)
pytestmark = pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason=MISSING)

TAB, ENTER, SPACE, DOWN, ESCAPE = "\ue004", "\ue007", " ", "\ue015", "\ue00c"
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the page of the small run lies."""
    return write_report(make_run(tmp_path_factory.mktemp("browser") / "run")).as_uri()


@pytest.fixture(scope="module")
def shared_browser() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def browser(shared_browser: Browser, address: str) -> Iterator[Browser]:
    """A browser with the page open; whatever a test does, console and network must stay silent."""
    shared_browser.cdp("Emulation.clearDeviceMetricsOverride")
    shared_browser.cdp("Emulation.setEmulatedMedia", features=[], media="")
    shared_browser.log("browser")
    shared_browser.requests()
    shared_browser.open(address)
    yield shared_browser
    assert shared_browser.log("browser") == []
    asked = [url for url in shared_browser.requests() if url.split("?")[0].split("#")[0] != address]
    assert [url for url in asked if not url.startswith(("data:", "about:"))] == []
    assert shared_browser.run("return window.hacked ?? null") is None


def methods(browser: Browser) -> list[str]:
    return browser.texts("#results-body th a")


def numbers(browser: Browser, column: int) -> list[float]:
    """The first number in each cell of a column, from 1."""
    script = (
        "return [...document.querySelectorAll(`#results-body tr > :nth-child(${arguments[0]})`)]"
        ".map(e => e.firstChild.textContent)"
    )
    texts = browser.run(script, column)
    return [float(text.replace("†", "").replace(" best", "").replace("−", "-")) for text in texts]


def columns(browser: Browser) -> list[str]:
    """Keys of the columns, from left to right."""
    places = browser.run(
        "return [...document.querySelectorAll('#results-head button')].map(e => "
        "[e.getBoundingClientRect().left, e.dataset.key])"
    )
    return [key for _, key in sorted(places)]


def sort_state(browser: Browser) -> dict[str, str]:
    pairs = browser.run(
        "return [...document.querySelectorAll('#results-head button')].map(e => "
        "[e.dataset.key, e.parentElement.getAttribute('aria-sort')])"
    )
    return dict(pairs)


def overflow(browser: Browser) -> int:
    return int(
        browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    )


class TestTable:
    def test_it_opens_on_means_of_test_pairs_the_best_first(self, browser: Browser) -> None:
        # Two generalisations stand side by side.
        said = "5 of 40 rows · attribute: mean · partition: test"
        assert browser.texts("#results-count")[0].startswith(said)
        at = columns(browser).index("context.disentangle") + 1
        shown = numbers(browser, at)
        assert shown == sorted(shown, reverse=True)
        assert methods(browser)[0] == "mdas"

    def test_what_was_held_out_heads_groups_of_columns(self, browser: Browser) -> None:
        assert browser.texts("#results-head .group") == ["new templates (context)", "new entities (entity)"]
        browser.choose("#results-generalisation", "entity")
        assert browser.texts("#results-head .group") == ["new entities (entity)"]
        assert not any(key.startswith("context.") for key in columns(browser))

    def test_a_column_that_says_the_same_everywhere_is_said_once(self, browser: Browser) -> None:
        assert "attribute" not in columns(browser)
        browser.choose("#results-attribute", "*")
        assert "attribute" in columns(browser)
        assert "attribute" not in browser.texts("#results-count")[0]

    def test_columns_can_be_chosen_and_the_address_keeps_them(self, browser: Browser, address: str) -> None:
        browser.click(".tools summary")
        browser.click("#results-columns [name=cause]")
        browser.click("#results-columns [name=best]")
        keys = columns(browser)
        assert "context.cause" not in keys
        assert "entity.best" in keys
        browser.open(address + browser.run("return location.hash"))
        assert columns(browser) == keys

    @pytest.mark.parametrize("style", ["csv", "latex", "markdown"])
    def test_the_table_can_be_copied(self, browser: Browser, style: str) -> None:
        browser.run("navigator.clipboard.writeText = (text) => { window.taken = text; }")
        browser.click(f"[data-format={style}]")
        browser.until(lambda: browser.texts("#results-copied")[0].startswith("Copied"))
        found = str(browser.run("return window.taken"))
        if style == "csv":
            head, *rows = csv.reader(found.splitlines())
            assert head[:2] == ["Method", "context Cause"]
            assert [row[0] for row in rows] == methods(browser)
            assert {len(row) for row in rows} == {len(columns(browser))}
        elif style == "latex":
            assert found.startswith("\\begin{tabular}{lrr")
            assert "no\\_op & 0.000" in found
            assert "\\&amp;" in found
        else:
            assert found.splitlines()[1].startswith("| --- | --- |")
            assert len(found.splitlines()) == 2 + len(methods(browser))

    def test_a_table_that_can_not_be_copied_is_shown(self, browser: Browser) -> None:
        browser.run("navigator.clipboard.writeText = () => Promise.reject(Error('no'))")
        browser.click("[data-format=csv]")
        browser.until(lambda: bool(browser.run("return document.getElementById('viewer').open")))
        assert browser.run("return document.querySelector('#viewer textarea').value").startswith("Method,")

    def test_the_best_is_bold_and_floors_are_set_apart(self, browser: Browser) -> None:
        at = columns(browser).index("context.disentangle") + 1
        bold = browser.run(
            "return [...document.querySelectorAll(`#results-body td:nth-child(${arguments[0]}) strong`)]"
            ".map(e => e.closest('tr').querySelector('th a').textContent)",
            at,
        )
        assert bold == ["mdas"]
        assert set(browser.texts("tr.floor th a")) == {"no_op", "full_vector"}

    def test_a_click_sorts_and_another_turns(self, browser: Browser) -> None:
        at = columns(browser).index("entity.cause") + 1
        browser.click("[data-key='entity.cause']")
        falling = numbers(browser, at)
        assert falling == sorted(falling, reverse=True)
        assert sort_state(browser)["entity.cause"] == "descending"
        browser.click("[data-key='entity.cause']")
        assert numbers(browser, at) == sorted(falling)
        state = sort_state(browser)
        assert state.pop("entity.cause") == "ascending"
        assert set(state.values()) == {"none"}

    def test_missing_differences_come_last_either_way(self, browser: Browser, address: str) -> None:
        browser.open(f"{address}#results?columns=best")
        at = columns(browser).index("context.best") + 1
        for _ in range(2):
            browser.click("[data-key='context.best']")
            texts = browser.texts(f"#results-body td:nth-child({at})")
            missing = [text in ("–", "best") for text in texts]
            assert missing == sorted(missing)
            assert any(missing)

    def test_filters_narrow_the_rows(self, browser: Browser) -> None:
        browser.choose("#results-attribute", ATTRIBUTES[2])
        browser.choose("#results-generalisation", "entity")
        assert browser.texts("#results-count")[0].startswith(f"5 of 40 rows · attribute: {ATTRIBUTES[2]}")
        browser.choose("#results-family", "floors")
        assert sorted(methods(browser)) == ["full_vector", "no_op"]
        browser.write("#results-find", "FULL")
        assert methods(browser) == ["full_vector"]
        browser.write("#results-find", "x")
        assert browser.texts("#results-count") == ["No row matches these filters."]

    def test_adjusted_p_is_told(self, browser: Browser, address: str) -> None:
        browser.open(f"{address}#results?columns=best,no_op")
        rows = browser.texts("#results-body tr")
        assert any("−0.200differs, p = 0.001" in row and row.startswith("das") for row in rows)
        assert any("−0.025tied, p = 0.400" in row and row.startswith(HOSTILE_METHOD) for row in rows)
        assert any("+0.325differs, p < 0.001" in row for row in rows)

    def test_the_address_restores_the_table(self, browser: Browser, address: str) -> None:
        browser.choose("#results-attribute", "Country")
        browser.click("[data-key='context.isolate']")
        there = browser.run("return location.hash")
        browser.open(address + there)
        assert sort_state(browser)["context.isolate"] == "descending"
        assert "attribute: Country" in browser.texts("#results-count")[0]


class TestPairs:
    def test_wrong_answers_of_one_method(self, browser: Browser) -> None:
        browser.choose("#pairs-method", "das")
        browser.choose("#pairs-role", "isolate")
        browser.choose("#pairs-answer", "wrong")
        assert set(browser.texts(".pair .chip.isolate")) == {"isolate"}
        assert browser.texts(".pair .right .chip") == []
        assert set(browser.texts(".pair .wrong .chip")) == {"das"}
        (count,) = browser.texts("#pairs-count")
        # das keeps a quarter of the 48 isolate pairs, up to the rule's grid.
        assert count.startswith("36 of 72 pairs match. das answered 0 of them")

    def test_expected_and_answered_agree_with_the_rule(self, browser: Browser) -> None:
        browser.choose("#pairs-method", "no_op")
        browser.choose("#pairs-role", "cause")
        assert set(browser.texts(".pair h3")) == {"expected: the source's answer"}
        assert set(browser.texts(".answers [data-answer=u] .chip")) == {"no_op"}
        assert browser.texts(".answers [data-answer=s] .chip") == []
        browser.choose("#pairs-answer", "right")
        assert browser.texts("#pairs-count") == ["No pair matches these filters."]

    def test_pages(self, browser: Browser) -> None:
        first = browser.texts(".pair header a")
        assert len(first) == 20
        assert browser.run("return document.getElementById('pairs-previous').disabled")
        browser.click("#pairs-next")
        assert browser.texts("#pairs-page") == ["Page 2 of 4"]
        second = browser.texts(".pair header a")
        assert not set(first) & set(second)
        for _ in range(2):
            browser.click("#pairs-next")
        assert len(browser.texts(".pair header a")) == 12
        assert browser.run("return document.getElementById('pairs-next').disabled")
        browser.choose("#pairs-role", "cause")
        assert browser.texts("#pairs-page") == ["Page 1 of 2"]

    def test_a_deep_link_opens_what_was_seen(self, browser: Browser, address: str) -> None:
        browser.choose("#pairs-split", "entity_test")
        browser.choose("#pairs-target", ATTRIBUTES[2])
        browser.choose("#pairs-method", HOSTILE_METHOD)
        browser.choose("#pairs-answer", "right")
        browser.click("#pairs-next")
        seen, there = browser.texts(".pair"), browser.run("return location.hash")
        assert len(seen) > 1
        browser.open(address + there)
        assert browser.texts(".pair") == seen
        assert browser.texts("#pairs-page")[0].startswith("Page 2 of")
        browser.until(
            lambda: browser.run("return document.getElementById('pairs').getBoundingClientRect().top") < 200
        )

    def test_a_link_of_one_pair_shows_that_pair(self, browser: Browser) -> None:
        wanted = browser.texts(".pair header a")[3]
        browser.click(".pair:nth-child(4) header a")
        browser.until(lambda: browser.texts(".pair header a") == [wanted])

    def test_a_method_in_the_table_leads_to_its_pairs(self, browser: Browser) -> None:
        browser.choose("#results-attribute", "Language")
        browser.click("#results-body tr:nth-child(1) th a")
        browser.until(lambda: browser.run("return document.getElementById('pairs-method').value") == "mdas")
        assert browser.run("return document.getElementById('pairs-target').value") == "Language"

    def test_nonsense_in_the_address_does_no_harm(self, browser: Browser, address: str) -> None:
        browser.open(address + "#pairs?split=moon&target=__proto__&method=%3Cb%3E&page=-7&kind=x")
        assert len(browser.texts(".pair")) == 20
        assert browser.texts("#pairs-page") == ["Page 1 of 4"]

    def test_hostile_names_are_text(self, browser: Browser) -> None:
        assert HOSTILE_METHOD in methods(browser)
        browser.write("#pairs-find", "hacked = 3")
        texts = browser.texts(".answers .said b")
        assert f"“{HOSTILE_LABEL.strip()}”" in texts
        assert any(HOSTILE_ENTITY in text for text in browser.texts(".pair mark"))
        assert browser.run("return document.querySelectorAll('img, iframe, main script').length") == 0
        assert "🏰" in "".join(browser.texts(".pair mark"))

    def test_names_are_marked_where_they_stand(self, browser: Browser) -> None:
        assert {text for text in browser.texts(".pair mark") if "Ulm" in text} == {"Ulm 🏰"}


class TestReaders:
    def test_the_keyboard_reaches_and_works_everything(self, browser: Browser) -> None:
        browser.press(TAB)
        assert browser.run("return document.activeElement.className") == "skip"
        visited = []
        for _ in range(60):
            browser.press(TAB)
            visited.append(
                browser.run("const e = document.activeElement; return e.id || e.dataset.key || e.tagName")
            )
            if visited[-1] == "context.cause":
                break
        assert visited.index("results-attribute") < visited.index("context.cause")
        browser.press(SPACE)
        assert sort_state(browser)["context.cause"] == "descending"
        # The header is drawn anew, the focus must be on the same button.
        browser.press(ENTER)
        assert sort_state(browser)["context.cause"] == "ascending"
        outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"

    def test_a_select_and_the_pager_work_by_keyboard(self, browser: Browser) -> None:
        browser.run("document.getElementById('pairs-target').focus()")
        browser.press(DOWN)
        assert browser.run("return document.getElementById('pairs-target').value") == ATTRIBUTES[1]
        browser.run("document.getElementById('pairs-next').focus()")
        browser.press(ENTER)
        assert browser.texts("#pairs-page") == ["Page 2 of 4"]
        assert browser.run("return document.activeElement.id") == "pairs-next"

    def test_every_control_has_a_label(self, browser: Browser) -> None:
        script = (
            "return [...document.querySelectorAll('select, input')]"
            ".filter(e => !e.labels.length || !e.labels[0].textContent.trim()).map(e => e.id)"
        )
        assert browser.run(script) == []

    def test_every_row_can_be_reached(self, browser: Browser) -> None:
        script = (
            "return [...document.querySelectorAll('#results-body tr')]"
            ".filter(e => !e.querySelector('a') && e.tabIndex !== 0).length"
        )
        assert browser.run(script) == 0
        assert browser.run("return document.querySelector('.scroll').tabIndex") == 0

    def test_nothing_overflows_at_the_width_of_a_phone(self, browser: Browser, address: str) -> None:
        browser.cdp("Emulation.setDeviceMetricsOverride", **PHONE)
        browser.open(address)
        assert browser.run("return innerWidth") == 360
        assert overflow(browser) == 0
        assert browser.run(
            "const s = document.querySelector('.scroll'); return s.scrollWidth > s.clientWidth"
        )

    def test_scores_stand_beside_the_method_on_a_phone(self, browser: Browser, address: str) -> None:
        browser.cdp("Emulation.setDeviceMetricsOverride", **{**PHONE, "width": 390})
        browser.open(address)
        assert overflow(browser) == 0
        edges = browser.run(
            "return [...document.querySelectorAll('#results-body tr:first-child > *')].slice(0, 4)"
            ".map(e => [e.getBoundingClientRect().left, e.getBoundingClientRect().right])"
        )
        assert all(0 <= left < right <= 390 for left, right in edges)
        assert numbers(browser, 4)[0] == 0.825
        # What has no room is told at a tap.
        assert browser.run("return document.querySelector('#results-body .interval').offsetWidth") == 0
        browser.click("#results-body td:nth-child(4)")
        browser.until(lambda: browser.texts("#tip") == ["95 % interval 0.795 – 0.855"])

    def test_the_dark_is_dark_and_plots_follow(self, browser: Browser, address: str) -> None:
        light, ink_in_light = ground(browser, "body"), ink(browser, ".sheet text")
        browser.cdp(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}]
        )
        browser.open(address)
        assert sum(ground(browser, "body")) < 150 < sum(light)
        assert sum(ground(browser, ".sheet")) < 150
        assert sum(ink_in_light) < 150 < sum(ink(browser, ".sheet text"))

    def test_a_plot_opens_larger_and_goes_back(self, browser: Browser) -> None:
        browser.run("document.querySelector('.enlarge').focus()")
        browser.press(ENTER)
        browser.until(lambda: bool(browser.run("return document.getElementById('viewer').open")))
        assert browser.run("return document.querySelectorAll('#viewer svg').length") == 1
        assert browser.run("return document.querySelector('.sheet').childElementCount") == 0
        browser.press(ESCAPE)
        browser.until(lambda: bool(browser.run("return document.querySelector('.sheet svg') !== null")))
        assert browser.run("return document.activeElement.className") == "plain enlarge"

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_text_stands_out(self, browser: Browser, address: str, scheme: str) -> None:
        browser.cdp(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        browser.open(address)
        places = ("body", ".lead", "#results-body small", ".group", ".right .chip", ".wrong .chip", "a")
        for css in (*places, ".notes", ".sheet text", "figcaption"):
            assert contrast(ink(browser, css), ground(browser, css)) >= 4.5, css

    def test_motion_is_reduced_on_request(self, browser: Browser, address: str) -> None:
        script = "return getComputedStyle(document.documentElement).scrollBehavior"
        assert browser.run(script) == "smooth"
        browser.cdp(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}]
        )
        browser.open(address)
        assert browser.run(script) == "auto"

    def test_print_shows_no_controls(self, browser: Browser) -> None:
        browser.cdp("Emulation.setEmulatedMedia", media="print")
        script = (
            "return [...document.querySelectorAll('.filters, .tools, .enlarge, nav')]"
            ".map(e => getComputedStyle(e).display)"
        )
        assert set(browser.run(script)) == {"none"}

    def test_the_table_fits_a_printed_page(self, browser: Browser) -> None:
        browser.cdp("Emulation.setDeviceMetricsOverride", **{**PHONE, "width": 718, "mobile": False})
        browser.cdp("Emulation.setEmulatedMedia", media="print")
        right = browser.run("return document.getElementById('results-table').getBoundingClientRect().right")
        assert right <= 718

    def test_the_pointer_tells_what_a_point_is(self, browser: Browser, address: str, tmp_path: Path) -> None:
        run = make_run(tmp_path / "run")
        (run / "plots" / "cause_isolate.svg").write_text(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 90 40">'
            '<g id="tip:mdas &lt;b&gt;: cause 0.5"><rect width="90" height="40" fill="#d55e00"/></g></svg>'
        )
        other = Path(address.removeprefix("file://")).with_name("tips.html")
        browser.open(write_report(run, out=other).as_uri())
        # The pointer moves onto the plot to press it, and the plot opens under it.
        browser.click(".sheet rect")
        browser.until(lambda: browser.texts("#tip") == ["mdas <b>: cause 0.5"])
        browser.open(address)
        browser.requests()

    def test_a_console_error_would_be_seen(self, shared_browser: Browser, tmp_path: Path) -> None:
        page = tmp_path / "bad.html"
        page.write_text("<script>throw Error('x')</script><img src='http://127.0.0.1:9/x.png'>")
        shared_browser.log("browser")
        shared_browser.requests()
        shared_browser.open(page.as_uri())
        assert shared_browser.log("browser")
        assert "http://127.0.0.1:9/x.png" in shared_browser.requests()


def test_a_page_without_pairs_says_so(shared_browser: Browser, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for path in run.glob("cells/*/outcomes/*"):
        path.unlink()
    shared_browser.open(write_report(run).as_uri())
    assert shared_browser.texts("#pairs-count")[0].startswith("The run's folder holds no outcomes")
    assert len(shared_browser.texts("#results-body tr")) == len(METHODS)
    assert shared_browser.log("browser") == []


def ink(browser: Browser, css: str) -> list[float]:
    return _colour(browser.run("return getComputedStyle(document.querySelector(arguments[0])).color", css))


def ground(browser: Browser, css: str) -> list[float]:
    """The first background behind an element that is not transparent."""
    script = (
        "let e = document.querySelector(arguments[0]);"
        "const of = e => getComputedStyle(e).backgroundColor;"
        "while (of(e) === 'rgba(0, 0, 0, 0)') e = e.parentElement; return of(e)"
    )
    return _colour(browser.run(script, css))


def _colour(text: str) -> list[float]:
    return [float(part) for part in text.partition("(")[2].rstrip(")").split(",")[:3]]


def contrast(first: list[float], second: list[float]) -> float:
    """Contrast ratio of two sRGB colours (WCAG 2.2)."""
    lights = sorted(_luminance(colour) for colour in (first, second))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(colour: list[float]) -> float:
    linear = [c / 12.92 if (c := part / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_black_on_white_has_the_known_contrast() -> None:
    assert contrast([0, 0, 0], [255, 255, 255]) == pytest.approx(21)
