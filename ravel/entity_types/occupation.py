"""Occupations; in the release only. Gender Bias has templates but no gold values there."""

from ravel.entity_types._other_names import GENDERS
from ravel.matching import Aliases, Prefix
from ravel.terms.schema import Attribute, EntityType

_INDUSTRIES = (
    ("IT", ("information technology",)),
    ("automobile", ("automotive",)),
    ("automotive", ("automobile",)),
    ("film", ("movie",)),
    ("health care", ("healthcare", "medical")),
    ("healthcare", ("health care", "medical")),
    ("information technology", ("IT",)),
    ("law", ("legal",)),
)
# Answers end where the limit on new tokens cuts them; templates already end in `to`.
_DUTY = Prefix(min_length=10, skip=("to",))

ENTITY_TYPE = EntityType(
    name="occupation",
    attributes=(
        Attribute("Duty", _DUTY, "a verb and what it acts on, without `to`"),
        Attribute("Gender Bias", Aliases(GENDERS), "male or female; the release has no gold values"),
        Attribute("Industry", Aliases(_INDUSTRIES), "one or two words"),
        Attribute("Work Location", Prefix(), "a kind of place"),
    ),
    description="occupations: duty, gender bias, industry and work location",
    licence="MIT (explanare/ravel)",
    bundled=False,
    release=True,
)
