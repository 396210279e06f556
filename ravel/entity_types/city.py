"""Cities with where they lie, what is spoken there and what time it is; shipped, and also in the release."""

from datetime import date

from ravel.entity_types._other_names import CONTINENTS, COUNTRIES, LANGUAGES
from ravel.matching import Aliases, AnyOf, NumberWithin, UtcOffset
from ravel.terms.schema import Attribute, EntityType

# Winter in the north, where most cities are, so that most offsets are those of standard time.
OFFSETS_AT = date(2024, 1, 15)

ENTITY_TYPE = EntityType(
    name="city",
    attributes=(
        Attribute("Country", Aliases(COUNTRIES), "English short name of the country"),
        Attribute("Continent", Aliases(CONTINENTS), "one of six continents"),
        Attribute(
            "Language", Aliases(LANGUAGES, inner=AnyOf()), "commonest language; the release lists several"
        ),
        Attribute("Timezone", UtcOffset(at=OFFSETS_AT), "IANA name of the zone, such as Asia/Tokyo"),
        Attribute("Latitude", NumberWithin(within=2), "whole degrees, south negative"),
        Attribute("Longitude", NumberWithin(within=2), "whole degrees, west negative"),
    ),
    description="cities of the world: country, continent, language, time zone and coordinates",
    licence="bundled: CC BY 4.0 (GeoNames) and Unicode License v3 (CLDR); release: MIT (explanare/ravel)",
    bundled=True,
    release=True,
)
