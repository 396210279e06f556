"""English verbs; in the release only. Every attribute but the definition is a form of the verb itself."""

from ravel.matching import AnyOf, Prefix
from ravel.terms.schema import Attribute, EntityType

# Answers end where the limit on new tokens cuts them: long definitions and rare signs seldom come out whole.
_DEFINITION = AnyOf(Prefix(min_length=12, skip=("to",)))
_PRONUNCIATION = AnyOf(Prefix(min_length=4, whole_words=False))

ENTITY_TYPE = EntityType(
    name="verb",
    attributes=(
        Attribute("Definition", _DEFINITION, "begins with `to`; commas separate paraphrases"),
        Attribute("Past Tense", Prefix(skip=()), "one word"),
        Attribute(
            "Pronunciation", _PRONUNCIATION, "phonetic signs between slashes; commas separate variants"
        ),
        Attribute("Singular", Prefix(skip=()), "third person singular, one word"),
    ),
    description="English verbs: definition, past tense, pronunciation and third person singular",
    licence="MIT (explanare/ravel)",
    bundled=False,
    release=True,
)
