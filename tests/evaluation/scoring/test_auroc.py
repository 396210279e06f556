"""Areas under the curve by hand, with clusters, and signs put together."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from evaluation.scoring.auroc import areas_again, auroc, combined, percentile_interval


def test_areas_by_hand() -> None:
    right = np.array([True, True, False, False])
    assert auroc(np.array([4.0, 2.0, 3.0, 1.0]), right) == 0.75
    assert auroc(np.array([1.0, 1.0, 1.0, 1.0]), right) == 0.5
    assert auroc(np.array([2.0, 1.0, 1.0, 0.0]), right) == 0.875
    assert auroc(np.array([1.0, 2.0]), np.array([True, True])) is None
    # A case that counts three times is three cases.
    weighted = auroc(np.array([4.0, 2.0, 3.0, 1.0]), right, np.array([3.0, 1.0, 1.0, 1.0]))
    assert weighted == (3 * 2 + 1) / 8


def test_areas_agree_with_those_of_scikit_learn() -> None:
    stream = np.random.default_rng(0)
    scores, right = stream.integers(0, 20, 300).astype(float), stream.random(300) < 0.3
    assert auroc(scores, right) == pytest.approx(roc_auc_score(right, scores))


def test_whole_clusters_are_drawn_again() -> None:
    stream = np.random.default_rng(1)
    clusters = np.repeat(np.arange(30), 20)
    right = np.repeat(stream.random(30) < 0.5, 20)
    scores = np.repeat(stream.random(30), 20) + 0.3 * right
    wide = areas_again([scores, -scores], right, clusters, resamples=300, seed=0)
    narrow = areas_again([scores], right, np.arange(600), resamples=300, seed=0)
    assert wide.shape == (300, 2)
    assert wide[:, 0] + wide[:, 1] == pytest.approx(np.ones(300))
    of_clusters, of_cases = percentile_interval(wide[:, 0]), percentile_interval(narrow[:, 0])
    assert of_clusters is not None
    assert of_cases is not None
    assert of_clusters[1] - of_clusters[0] > 3 * (of_cases[1] - of_cases[0])
    assert len(areas_again([scores], np.ones(600, bool), clusters, resamples=9, seed=0)) == 0
    assert percentile_interval(np.zeros(0)) is None


def test_signs_are_put_together_as_scikit_learn_does() -> None:
    stream = np.random.default_rng(2)
    columns = stream.standard_normal((200, 3))
    right = columns @ [1.0, -2.0, 0.5] + stream.standard_normal(200) > 0.3
    expected = LogisticRegression(C=1.0, tol=1e-10).fit(columns, right)
    found = combined(columns, right)
    assert found[:3] == pytest.approx(expected.coef_[0], abs=1e-4)
    assert found[3] == pytest.approx(float(expected.intercept_[0]), abs=1e-4)
    # A column that separates has a finite weight, for weights cost.
    assert np.isfinite(combined(np.array([[-1.0], [1.0]]), np.array([False, True]))).all()
