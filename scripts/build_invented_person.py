"""Build ``data/invented_person``: people who do not exist, with independent attributes."""

from __future__ import annotations

import random
import sys

import bundled

SEED = "invented_person/1"
COUNT = 1200
FIRST_NAMES = 150

VALUES: dict[str, tuple[str, ...]] = {
    "Birthplace": (
        "Athens", "Berlin", "Boston", "Buenos Aires", "Cairo", "Cape Town", "Chicago", "Dallas",
        "Delhi", "Dublin", "Hong Kong", "Lisbon", "London", "Madrid", "Moscow", "New York",
        "Oslo", "Paris", "Prague", "Rome", "Sydney", "Tokyo", "Toronto", "Vienna",
    ),
    "Profession": (
        "baker", "banker", "butcher", "carpenter", "chemist", "dentist", "doctor", "farmer",
        "journalist", "judge", "lawyer", "librarian", "nurse", "photographer", "pilot", "plumber",
        "surgeon", "tailor", "teacher", "translator",
    ),
    "Instrument": (
        "banjo", "bassoon", "cello", "clarinet", "drums", "flute", "guitar", "harmonica", "harp",
        "mandolin", "piano", "saxophone", "trombone", "trumpet", "tuba", "violin",
    ),
    "Language": (
        "Arabic", "Chinese", "Dutch", "English", "Finnish", "French", "German", "Greek", "Hebrew",
        "Hindi", "Italian", "Japanese", "Korean", "Polish", "Portuguese", "Russian", "Spanish",
        "Swedish", "Thai", "Turkish",
    ),
}  # fmt: skip

ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "dr", "tr",
          "kl", "sk", "st")  # fmt: skip
PLAIN_ONSETS = ONSETS[:14]
VOWELS = ("a", "e", "i", "o", "u")
CODAS = ("l", "n", "r", "s", "k", "t", "x", "nd", "rt", "lk", "sk", "rn")
# Words, places and names of real people or brands that the syllables can produce.
REFUSED = frozenset(bundled.read_source("refused_names.txt").split())
# Letters that would make a name rude or laden in English or a neighbouring language.
UNWANTED = ("anus", "bosnia", "brazil", "cun", "dic", "fag", "fart", "fuk", "gitan", "kok", "lolit", "nazi",
            "nig", "nega", "nege", "pedo", "porn", "puta", "rap", "sex", "slut", "tit", "turd")  # fmt: skip


def syllables(rng: random.Random, count: int, coda_rate: float) -> str:
    """Return ``count`` syllables; only the first has a cluster, only the last has a coda."""
    parts = [rng.choice(ONSETS if i == 0 else PLAIN_ONSETS) + rng.choice(VOWELS)
             for i in range(count)]  # fmt: skip
    tail = rng.choice(CODAS) if rng.random() < coda_rate else ""
    return ("".join(parts) + tail).capitalize()


def value_words() -> list[str]:
    """Return every word of every value, lower-case."""
    return sorted({w.lower() for vs in VALUES.values() for v in vs for w in v.split()})


def acceptable(name: str, low: int, high: int) -> bool:
    """Tell whether a name has the right length, is not real and contains no value word."""
    lower = name.lower()
    return (
        low <= len(name) <= high
        and lower not in REFUSED
        and not any(part in lower for part in UNWANTED)
        and not any(word in lower or lower in word for word in value_words())
    )


def draw_first_names(rng: random.Random) -> list[str]:
    """Draw the pool of first names: two syllables, four to six letters."""
    names: set[str] = set()
    while len(names) < FIRST_NAMES:
        name = syllables(rng, 2, 0.4)
        if acceptable(name, 4, 6):
            names.add(name)
    return sorted(names)


def draw_last_names(rng: random.Random, first_names: list[str], reserved: str) -> list[str]:
    """Draw unique last names of five to nine letters, none of them the start of another."""
    names: list[str] = []
    starts: set[str] = set(first_names)
    taken: set[str] = set()
    while len(names) < COUNT:
        name = syllables(rng, rng.choice((2, 3, 3)), 0.7)
        prefixes = {name[:n] for n in range(4, len(name) + 1)}
        if not acceptable(name, 5, 9) or prefixes & starts or name in taken or name in reserved:
            continue
        starts.add(name)
        taken |= prefixes
        names.append(name)
    return names


def draw_values(rng: random.Random) -> list[dict[str, str]]:
    """Draw each attribute as an independent shuffle of an exactly balanced list."""
    columns: dict[str, list[str]] = {}
    for attribute, values in VALUES.items():
        column = list(values) * (COUNT // len(values))
        rng.shuffle(column)
        columns[attribute] = column
    return [{a: columns[a][i] for a in VALUES} for i in range(COUNT)]


def build_people(reserved: str) -> dict[str, dict[str, str]]:
    """Draw the people: {"First Last": {attribute: value}}."""
    rng = random.Random(SEED)
    first_names = draw_first_names(rng)
    last_names = draw_last_names(rng, first_names, reserved)
    names = [f"{rng.choice(first_names)} {last}" for last in last_names]
    return dict(zip(names, draw_values(rng), strict=True))


def build() -> bundled.Files:
    """Build the files of the type in memory."""
    source = bundled.SOURCES / "invented_person_templates.txt"
    people = build_people(source.read_text(encoding="utf-8"))
    entities = bundled.entity_rows(people, SEED)
    templates = bundled.template_rows(bundled.read_templates(source), SEED)
    readme = bundled.read_source("invented_person_readme.md").format(
        total=len(entities),
        seed=SEED,
        first=FIRST_NAMES,
        counts=bundled.counts_section(entities, templates),
    )
    return {
        "entities.jsonl": bundled.to_jsonl(entities),
        "templates.jsonl": bundled.to_jsonl(templates),
        "README.md": readme,
    }


if __name__ == "__main__":
    sys.exit(bundled.main("invented_person", build))
