"""Things, plants and animals; in the release only."""

from ravel.matching import Aliases
from ravel.terms.schema import Attribute, EntityType

_THING = (
    "non-living thing",
    "non-living things",
    "nonliving thing",
    "nonliving things",
    "non-living",
    "nonliving",
)
_CATEGORIES = (
    ("animal", ("animals",)),
    ("non-living thing", _THING),
    ("non-living things", _THING),
    ("plant", ("plants",)),
)
_COLORS = (("gray", ("grey",)), ("black and white", ("white and black",)))
_SIZES = (
    ("cm", ("centimeter", "centimeters", "centimetre", "centimetres")),
    ("km", ("kilometer", "kilometers", "kilometre", "kilometres")),
    ("m", ("meter", "meters", "metre", "metres")),
    ("mm", ("millimeter", "millimeters", "millimetre", "millimetres")),
)
# Many templates ask whether the thing is soft, none whether it is hard.
_TEXTURES = (("hard", ("no",)), ("soft", ("yes",)))

ENTITY_TYPE = EntityType(
    name="physical_object",
    attributes=(
        Attribute("Category", Aliases(_CATEGORIES), "plant, animal or non-living thing (spelt in two ways)"),
        Attribute("Color", Aliases(_COLORS), "one colour"),
        Attribute("Size", Aliases(_SIZES), "the unit in which it is measured: mm, cm, m or km"),
        Attribute("Texture", Aliases(_TEXTURES), "soft or hard"),
    ),
    description="things, plants and animals: category, color, size and texture",
    licence="MIT (explanare/ravel)",
    bundled=False,
    release=True,
)
