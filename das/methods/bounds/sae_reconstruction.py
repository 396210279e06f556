"""The floor of every dictionary without its error: the base's own reconstruction, with nothing swapped."""

from __future__ import annotations

import torch

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.base import Method, Problem, Workspace
from das.methods.dictionaries._dictionaries import DictionaryConfig, site_dictionary


class SaeReconstruction(Method[DictionaryConfig]):
    """Puts `decode(encode(base))` in place of the base, whatever the source. Its cause should be near 0; what
    its isolate lacks of 1 is what the dictionary's reconstruction error alone destroys, and no method that
    drops the error can be better there."""

    name = "sae_reconstruction"
    summary = "Swaps nothing but drops the autoencoder's error: what reconstruction alone costs"
    config_class = DictionaryConfig
    needs_attribute = False
    needs_size = False
    needs_vectors = True

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `Dictionary` of size 0 without its error. Raises SuiteError as `site_dictionary` does."""
        dictionary = site_dictionary(problem, engine, workspace, self.config.autoencoder)
        return dictionary.with_mask(torch.zeros(dictionary.n_features), keeps_error=False)


METHOD = SaeReconstruction
