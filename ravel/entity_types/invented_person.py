"""Invented people whose four attributes are drawn independently: the clean room beside the real world."""

from ravel.matching import Prefix
from ravel.terms.schema import Attribute, EntityType

ENTITY_TYPE = EntityType(
    name="invented_person",
    attributes=(
        Attribute("Birthplace", Prefix(), "a city"),
        Attribute("Profession", Prefix(), "a job, in lower case"),
        Attribute("Instrument", Prefix(), "a musical instrument, in lower case"),
        Attribute("Language", Prefix(), "a language"),
    ),
    description="generated people with independent attributes; known only to models trained on them",
    licence="MIT (generated for this project)",
    bundled=True,
    release=False,
)
