"""Featurizers: coordinates of a vector and a choice among them."""

from das.featurizers.base import Featurizer
from das.featurizers.complement import Complement
from das.featurizers.dictionary import Activation, Dictionary
from das.featurizers.masked import MaskedBasis
from das.featurizers.orthonormal import retract
from das.featurizers.reversible import ReversibleMap
from das.featurizers.storage import FeaturizerHeader, load_featurizer, save_featurizer
from das.featurizers.subspace import Subspace

__all__ = [
    "Activation",
    "Complement",
    "Dictionary",
    "Featurizer",
    "FeaturizerHeader",
    "MaskedBasis",
    "ReversibleMap",
    "Subspace",
    "load_featurizer",
    "retract",
    "save_featurizer",
]
