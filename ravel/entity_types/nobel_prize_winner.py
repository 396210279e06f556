"""Nobel prize winners; in the release only."""

from ravel.entity_types._other_names import COUNTRIES, GENDERS
from ravel.matching import Aliases, AnyOf, Prefix
from ravel.terms.schema import Attribute, EntityType

_FIELDS = (
    ("Economics", ("Economic Sciences", "Economic Science", "Economy")),
    ("Medicine", ("Physiology", "Physiology or Medicine")),
)

ENTITY_TYPE = EntityType(
    name="nobel_prize_winner",
    attributes=(
        Attribute("Field", Aliases(_FIELDS, inner=AnyOf()), "one of six fields; two winners have two"),
        Attribute("Award Year", AnyOf(), "year in four digits; four winners have two"),
        Attribute("Birth Year", Prefix(), "year in four digits"),
        Attribute("Country of Birth", Aliases(COUNTRIES), "English short name of the country"),
        Attribute("Gender", Aliases(GENDERS), "male or female; templates often elicit a pronoun"),
    ),
    description="Nobel prize winners: field, years, country of birth and gender",
    licence="MIT (explanare/ravel)",
    bundled=False,
    release=True,
)
