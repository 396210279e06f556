"""Laws and hand-checked verdicts of the matchers, in both modes."""

from __future__ import annotations

import dataclasses
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravel.common.errors import SuiteError
from ravel.matching import (
    Aliases,
    AnyOf,
    Matcher,
    MatchMode,
    NumberWithin,
    Prefix,
    UtcOffset,
    settled_verdict,
)

WINTER = date(2024, 1, 15)
SUMMER = date(2024, 7, 15)
WORDS = st.lists(st.text(st.sampled_from("abcdeéßİñ"), min_size=1, max_size=6), min_size=1, max_size=4)
MATCHERS: tuple[Matcher, ...] = (
    Prefix(),
    Prefix(min_length=4),
    AnyOf(),
    AnyOf(Prefix(min_length=4)),
    Aliases((("United States", ("USA",)),)),
    NumberWithin(),
    UtcOffset(at=WINTER),
)


class TestLaws:
    @given(WORDS)
    def test_a_value_states_itself_however_it_is_dressed(self, words: list[str]) -> None:
        value = " ".join(words)
        for dressed in (
            value,
            f" {value}.",
            f'"{value}", "x": "y"',
            f"\n{value}\nmore",
            f" {value.upper()}!",
        ):
            assert Prefix().matches(dressed, value), dressed

    @given(WORDS, st.text(st.sampled_from("xyz0é"), min_size=1, max_size=3))
    def test_letters_glued_behind_a_value_make_another_word(self, words: list[str], more: str) -> None:
        value = " ".join(words)
        for glue in ("", "-", "_", "/"):
            assert not Prefix(skip=()).matches(f" {value}{glue}{more}", value)

    @given(WORDS)
    def test_one_letter_never_counts_in_strict_mode(self, words: list[str]) -> None:
        value = "q" + " ".join(words)
        for length in (None, 2, 5):
            assert not Prefix(min_length=length).matches("q", value)
            assert not Prefix(min_length=length, whole_words=False).matches("q", value)

    @given(WORDS, st.integers(0, 30))
    def test_reference_mode_takes_any_prefix_either_way(self, words: list[str], cut: int) -> None:
        value = " ".join(words).lower()
        assert Prefix().matches(value[:cut], value, mode="reference")
        assert Prefix().matches(value + "anything", value, mode="reference")

    @given(WORDS)
    @pytest.mark.parametrize("mode", ["strict", "reference"])
    def test_a_blank_value_is_never_stated(self, mode: str, words: list[str]) -> None:
        for matcher in MATCHERS:
            for blank in ("", "  ", '"', ","):
                assert not matcher.matches(" ".join(words), blank, mode=mode)  # type: ignore[arg-type]

    @settings(max_examples=30)
    @given(st.text(max_size=40), st.text(max_size=20))
    def test_no_text_whatever_makes_a_matcher_fail(self, continuation: str, value: str) -> None:
        for matcher in MATCHERS:
            matcher.matches(continuation, value)
            matcher.matches(continuation, value, mode="reference")

    @given(WORDS)
    def test_any_of_takes_each_part_of_a_list(self, words: list[str]) -> None:
        value = ", ".join(words)
        assert all(AnyOf().matches(f" {word}.", value) for word in words)

    def test_matchers_are_values(self) -> None:
        for matcher in MATCHERS:
            assert isinstance(matcher, Matcher)
            assert hash(matcher) == hash(dataclasses.replace(matcher))  # type: ignore[type-var]

    def test_only_closeness_is_tolerance(self) -> None:
        assert [m.tolerance for m in MATCHERS] == [False, False, False, False, False, True, True]
        assert AnyOf(NumberWithin()).tolerance
        assert Aliases((), inner=UtcOffset(at=WINTER)).tolerance


class TestPrefix:
    @pytest.mark.parametrize(
        ("continuation", "value", "right"),
        [
            (" Niger.", "Niger", True),
            (" Nigeria", "Niger", False),
            (" Guinea-Bissau", "Guinea", False),
            (" Guinea - a country", "Guinea", True),
            (" the Netherlands,", "Netherlands", True),
            (" Netherlands", "the Netherlands", True),
            (" China's capital", "China", True),
            (" not France", "France", False),
            (" United", "United States", False),
            (" United States of America", "United States", True),
            ('", "country": "France', "France", False),
            (" 1972", "1972", True),
            (" 19721", "1972", False),
            ("Hawai\u2019i", "Hawai'i", True),
            ("e\u0301te\u0301", "\u00e9t\u00e9", True),
            ("ete\u0301", "ete", False),
        ],
    )
    def test_strict_verdicts(self, continuation: str, value: str, right: bool) -> None:
        assert Prefix().matches(continuation, value) is right

    @pytest.mark.parametrize(
        ("continuation", "right"),
        [
            (" leave someone", True),
            ('leave someone or something", "x"', True),
            (" leave someone. Then", True),
            (" leave someone; look: see", True),
            (" leave some", False),
            (" leave", False),
            (" leave someone else", False),
        ],
    )
    def test_a_part_counts_from_min_length_on_where_a_word_ends(self, continuation: str, right: bool) -> None:
        matcher = Prefix(min_length=8, skip=("to",))
        assert matcher.matches(continuation, "to leave someone or something") is right

    def test_a_part_may_end_inside_a_word_if_told_so(self) -> None:
        matcher = AnyOf(Prefix(min_length=4, whole_words=False))
        value = "/ækˈsɛpt/, /əkˈsɛpt/"
        assert matcher.matches("əkˈs", value)
        assert matcher.matches("/ækˈsɛpt/", value)
        assert matcher.matches("ækˈsɛpt/ and", value)
        assert not matcher.matches("əkˈ", value)
        assert not matcher.matches("əkˈsɛpts", value)

    @pytest.mark.parametrize("length", [1, 0, -3])
    def test_a_minimum_below_two_is_refused(self, length: int) -> None:
        with pytest.raises(SuiteError, match=f"min_length of 2 characters or more; got {length}"):
            Prefix(min_length=length)


class TestReferenceRule:
    @pytest.mark.parametrize(
        ("continuation", "value", "right"),
        [
            ("F", "France", True),
            ("", "France", True),
            (" the United States", "United States", True),
            (" England", "United Kingdom", True),
            (" England", "United States", False),
            (" United", "United Kingdom", False),
            (" Korea", "South Korea", True),
            (" the continent of North America", "North America", True),
            (" NA", "North America", True),
            (" Americas", "North America", True),
            (" Chinese", "Mandarin", True),
            (" Germany", "France", False),
            ("America\\/New_York", "America/New_York", True),
        ],
    )
    def test_verdicts(self, continuation: str, value: str, right: bool) -> None:
        assert Prefix().matches(continuation, value, mode="reference") is right

    def test_any_part_of_a_list_may_stand_anywhere(self) -> None:
        assert AnyOf().matches(" both Sinhala and English", "Tamil,English", mode="reference")
        assert not AnyOf().matches(" both Sinhala and English", "Tamil,English")


class TestAliases:
    MATCHER = Aliases((("United States", ("USA", "U.S.")), ("Mandarin", ("Chinese",))), inner=AnyOf())

    @pytest.mark.parametrize("said", [" USA.", " the U.S. government", " united states", " the USA"])
    def test_each_name_counts(self, said: str) -> None:
        assert self.MATCHER.matches(said, "United States")

    def test_names_of_a_part_of_a_list_count(self) -> None:
        assert self.MATCHER.matches(" Chinese", "English, Mandarin")

    def test_names_belong_to_their_value_and_are_matched_strictly(self) -> None:
        assert not self.MATCHER.matches(" USA", "Mandarin")
        assert not self.MATCHER.matches(" Usage", "United States")
        assert not self.MATCHER.matches(" U", "United States")

    def test_reference_mode_knows_only_the_names_of_its_own_rule(self) -> None:
        assert not self.MATCHER.matches(" USA", "United States", mode="reference")


class TestNumberWithin:
    @pytest.mark.parametrize(
        ("continuation", "value", "right"),
        [
            (" 40.7\u00b0 N", "41", True),
            (" 43", "41", True),
            (" 43.1", "41", False),
            ("-33.9", "-34", True),
            ("\u221233", "-34", True),
            (" 33.9\u00b0 S", "-34", True),
            (" 33\u00b052\u2032 S", "-34", True),
            (" 33 degrees south", "-34", True),
            (" 122.4 W", "-122", True),
            (" 122.4 with", "-122", False),
            (" 33.9", "-34", False),
            (" -33.9\u00b0 S", "-34", True),
            (" 1", "-1", True),
            (" about 40", "41", False),
            (" 411", "41", False),
            ("", "41", False),
            (" 35\u00b059'", "38", False),
            (" 36\u00b0 1'", "38", True),
        ],
    )
    def test_strict_is_signed(self, continuation: str, value: str, right: bool) -> None:
        assert NumberWithin(within=2).matches(continuation, value) is right

    @pytest.mark.parametrize(
        ("continuation", "value", "right"),
        [
            (" 33.9", "-34", True),
            (" about 33", "-34", True),
            (' x", 33', "-34", False),
            (" 31", "-34", False),
        ],
    )
    def test_reference_takes_the_first_integer_without_sign(
        self, continuation: str, value: str, right: bool
    ) -> None:
        assert NumberWithin(within=2).matches(continuation, value, mode="reference") is right

    @given(st.integers(-180, 180), st.integers(-180, 180))
    def test_verdict_is_the_distance(self, said: int, value: int) -> None:
        assert NumberWithin(within=2).matches(f" {said}", str(value)) is (abs(said - value) <= 2)

    def test_a_value_that_is_no_number_is_never_met(self) -> None:
        assert not NumberWithin().matches("40", "unknown")


class TestUtcOffset:
    @pytest.mark.parametrize(
        "said",
        [
            " Asia/Kolkata.",
            ' "Asia\\/Kolkata"',
            "asia/kolkata",
            "+05:30",
            "+5:30",
            " UTC+5:30",
            " GMT +5.5",
            "(UTC+0530)",
            "UTC/GMT+5:30",
        ],
    )
    def test_name_or_offset_counts(self, said: str) -> None:
        assert UtcOffset(at=WINTER).matches(said, "Asia/Kolkata")

    @pytest.mark.parametrize("said", ["+5", "5:30", "-5:30", "UTC", "Asia", "Asia/Kolkata/East", "A", "UTC+"])
    def test_other_offsets_and_parts_do_not(self, said: str) -> None:
        assert not UtcOffset(at=WINTER).matches(said, "Asia/Kolkata")

    def test_the_date_decides_about_summer_time(self) -> None:
        assert UtcOffset(at=WINTER).matches("UTC-5", "America/New_York")
        assert not UtcOffset(at=WINTER).matches("UTC-4", "America/New_York")
        assert UtcOffset(at=SUMMER).matches("UTC-4", "America/New_York")

    @pytest.mark.parametrize("said", ["UTC", "GMT.", "+0", "00:00", "UTC\u00b10", "UTC+00:00", "-0"])
    def test_zero_needs_no_sign(self, said: str) -> None:
        assert UtcOffset(at=WINTER).matches(said, "Europe/London")

    def test_a_blank_may_stand_for_an_underscore_and_longer_names_are_others(self) -> None:
        matcher = UtcOffset(at=WINTER)
        assert matcher.matches(" America/New York", "America/New_York")
        assert not matcher.matches(" America/Indiana/Knox", "America/Indiana")

    @pytest.mark.parametrize(
        ("said", "right"),
        [("-4", True), ("-06:00", True), ("-7", False), ("+5", False), ("America", True), ("a", True)],
    )
    def test_reference_allows_an_hour_and_any_prefix(self, said: str, right: bool) -> None:
        assert UtcOffset(at=WINTER).matches(said, "America/New_York", mode="reference") is right

    def test_a_value_that_is_no_zone_counts_by_name_only(self) -> None:
        assert UtcOffset(at=WINTER).matches("Moon/Tycho", "Moon/Tycho")
        assert not UtcOffset(at=WINTER).matches("+1", "../../etc/passwd")


GROWING = st.text(st.sampled_from(" \n\"'.,;-_/\\(=Ttheanr5380NSw+°é\u0301\ufffdΣ"), max_size=6)
PIECES = st.sampled_from(
    ("", "the ", "France", "Fran", "United States", "usa", "to eat", "; now", "grass", "52", "-8", "UTC+1")
)
TEXTS = st.tuples(GROWING, PIECES, GROWING, PIECES, GROWING).map("".join)
VALUES = st.sampled_from(
    ("France", "the Netherlands", "United States", "to eat, grass", "52", "-8", "0", "Europe/Paris", "e", "")
)
SETTLING: tuple[Matcher, ...] = (
    *MATCHERS,
    Prefix(min_length=4, skip=("to",)),
    Prefix(skip=(), min_length=2, whole_words=False),
    Aliases((("France", ("Gaul", "to eat")),), inner=AnyOf()),
)


@dataclasses.dataclass(frozen=True)
class Exactly:
    """A matcher of a user's own, which settles nothing."""

    tolerance: bool = False

    def matches(self, continuation: str, value: str, *, mode: str = "strict") -> bool:
        return continuation.strip() == value


class TestSettled:
    @settings(max_examples=400, deadline=None)
    @given(
        st.sampled_from(SETTLING), st.sampled_from(("strict", "reference")), VALUES, TEXTS, st.lists(TEXTS)
    )
    def test_no_text_that_goes_on_gets_another_verdict(
        self, matcher: Matcher, mode: MatchMode, value: str, text: str, more: list[str]
    ) -> None:
        verdict = settled_verdict(matcher, text, value, mode=mode)
        if verdict is not None:
            for rest in ("", *more):
                assert matcher.matches(text + rest, value, mode=mode) == verdict, rest

    @pytest.mark.parametrize(
        ("matcher", "value", "text", "verdict"),
        [
            (Prefix(), "France", " ", None),
            (Prefix(), "France", " Fran", None),
            (Prefix(), "France", " France", None),
            (Prefix(), "France", " France-", None),
            (Prefix(), "France", " France.", True),
            (Prefix(), "France", " France ", True),
            (Prefix(), "France", " Franceville", False),
            (Prefix(), "France", " Germ", False),
            (Prefix(), "France", " th", None),
            (Prefix(), "France", " the Germ", False),
            (Prefix(), "France", " Frank\ufffd", None),
            (Prefix(), "France", " Frankf\ufffd", False),
            (Prefix(), "fé", "fe", None),
            (Prefix(min_length=4, skip=("to",)), "eat grass", " eat gr", None),
            (Prefix(min_length=4, skip=("to",)), "eat grass", " eat green", False),
            (AnyOf(), "English, German", " German,", True),
            (AnyOf(), "English, German", " Ger", None),
            (AnyOf(), "English, German", " Dutch", False),
            (Aliases((("United States", ("USA",)),)), "United States", " USA ", True),
            (NumberWithin(), "8", " 5", None),
            (NumberWithin(), "8", " 52", False),
            (NumberWithin(), "50", " 52", None),
            (NumberWithin(), "50", " 52, ", True),
            (NumberWithin(), "50", ' 52"', True),
            (NumberWithin(), "50", " -", False),
            (NumberWithin(), "50", " about", False),
            (NumberWithin(), "-50", " 52", None),
            (UtcOffset(at=WINTER), "Europe/Paris", " Europe/", None),
            (UtcOffset(at=WINTER), "Europe/Paris", " Europe/Lond", False),
            (UtcOffset(at=WINTER), "Europe/Paris", " Europe/Paris\n", True),
            (UtcOffset(at=WINTER), "Europe/Paris", " UTC+1", None),
            (Exactly(), "France", " Germany\n", None),
        ],
    )
    def test_by_hand(self, matcher: Matcher, value: str, text: str, verdict: bool | None) -> None:
        assert settled_verdict(matcher, text, value) is verdict

    def test_the_reference_rule_settles_as_well_but_for_its_exceptions(self) -> None:
        def settled(text: str, value: str) -> bool | None:
            return settled_verdict(Prefix(), text, value, mode="reference")

        assert settled("France is", "France") is True
        assert settled("Fr", "France") is None
        assert settled("Germ", "France") is False
        assert settled("Germ", "North America") is None
        assert settled('Germ"', "North America") is False
