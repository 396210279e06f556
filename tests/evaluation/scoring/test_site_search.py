"""Where to fit, before fitting: both rules by hand, transport against its definition, savings and regret."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome_world import TRACK, score_record

from evaluation.records.scores import ScoreRecord
from evaluation.report.tables import render
from evaluation.report.tables.site_search import site_table
from evaluation.scoring.site_search import best_sites, search_outcomes, site_merits
from evaluation.scoring.transport import PatchEffects, one_sided_transport, transport_shares
from ravel.common.errors import SuiteError

LAYERS = [f"block_output.{layer}@entity_last" for layer in range(4)]
PARTS = {
    # Everything moves, A alone, B alone, nothing.
    LAYERS[0]: {"A": (1.0, 0.0), "B": (1.0, 0.0)},
    LAYERS[1]: {"A": (0.9, 0.1), "B": (0.1, 0.8)},
    LAYERS[2]: {"A": (0.2, 0.7), "B": (0.8, 0.1)},
    LAYERS[3]: {"A": (0.0, 1.0), "B": (0.0, 1.0)},
}
"""By site and asked attribute, how many give the source's answer and how many keep the base's."""


def profile(parts: Mapping[str, Mapping[str, tuple[float, float]]] = PARTS) -> list[ScoreRecord]:
    """The scores of full_vector: isolate of one attribute is what the other keeps."""
    return [
        score_record(
            method="full_vector",
            attribute=target,
            site=site,
            partition="val",
            cause=own[target][0],
            isolate=own["B" if target == "A" else "A"][1],
        )
        for site, own in parts.items()
        for target in ("A", "B")
    ]


def fits(
    values: Mapping[str, float], attribute: str, size: int = 4, method: str = "das"
) -> list[ScoreRecord]:
    """Scores of a method with this disentangle at each site."""
    return [
        score_record(
            method=method,
            attribute=attribute,
            site=site,
            size=size,
            partition="val",
            cause=value,
            isolate=value,
            disentangle=value,
        )
        for site, value in values.items()
    ]


# --- transport


def test_each_attribute_goes_where_it_parts_from_the_other() -> None:
    effects = {
        site: PatchEffects({a: own[a][0] for a in own}, {a: own[a][1] for a in own})
        for site, own in PARTS.items()
    }
    shares = transport_shares(effects, ["A", "B"])
    for attribute, place in (("A", 1), ("B", 2)):
        assert max(shares[attribute], key=shares[attribute].__getitem__) == LAYERS[place]
        assert sum(shares[attribute].values()) == pytest.approx(1.0)


def test_a_site_where_a_swap_does_little_is_no_choice() -> None:
    # All attributes move together but where nothing moves, which costs least of all.
    together = {
        LAYERS[0]: {"A": (1.0, 0.0), "B": (0.9, 0.0), "C": (1.0, 0.0)},
        LAYERS[1]: {"A": (0.0, 1.0), "B": (0.0, 1.0), "C": (0.0, 1.0)},
    }
    effects = {
        site: PatchEffects({a: own[a][0] for a in own}, {a: own[a][1] for a in own})
        for site, own in together.items()
    }
    for shares in transport_shares(effects, ["A", "B", "C"]).values():
        assert shares == {LAYERS[0]: pytest.approx(1.0), LAYERS[1]: 0.0}


costs = st.lists(st.lists(st.floats(0, 12, allow_nan=False), min_size=3, max_size=3), min_size=2, max_size=4)


@settings(max_examples=40, deadline=None)
@given(costs=costs, weight=st.sampled_from([0.1, 1.0, 10.0]))
def test_rows_send_all_their_mass_and_no_small_change_of_the_plan_is_better(
    costs: list[list[float]], weight: float
) -> None:
    epsilon = 0.5
    plan = one_sided_transport(costs, epsilon=epsilon, weight=weight)
    n, m = len(costs), len(costs[0])
    for row in plan:
        assert sum(row) == pytest.approx(1 / n)
        assert all(mass >= 0 for mass in row)

    def objective(found: list[list[float]]) -> float:
        pairs = [(found[i][j], costs[i][j]) for i in range(n) for j in range(m)]
        received = [sum(row[j] for row in found) for j in range(m)]
        return (
            sum(mass * cost for mass, cost in pairs)
            + epsilon * sum(_divergence(mass, 1 / (n * m)) for mass, _ in pairs)
            + weight * sum(_divergence(mass, 1 / m) for mass in received)
        )

    least = objective(plan)
    for row in range(n):
        for source in range(m):
            changed = [list(own) for own in plan]
            moved = min(0.01, changed[row][source] / 2)
            changed[row][source] -= moved
            changed[row][(source + 1) % m] += moved
            assert objective(changed) >= least - 1e-6


def _divergence(mass: float, reference: float) -> float:
    return (mass * math.log(mass / reference) if mass > 0 else 0.0) - mass + reference


def test_where_sites_cost_the_same_mass_is_even() -> None:
    assert one_sided_transport([[3.0, 3.0], [1.0, 1.0]], epsilon=0.1, weight=1.0) == [
        pytest.approx([0.25, 0.25]),
        pytest.approx([0.25, 0.25]),
    ]


# --- rules


def test_both_rules_from_the_profile_s_records() -> None:
    whole = site_merits(profile(), "full_vector", TRACK)
    assert whole["A"] == whole["B"]
    assert whole["A"][LAYERS[1]] == pytest.approx(0.5)
    assert list(best_sites(whole, 2)["A"]) == [LAYERS[0], LAYERS[1]]
    parted = best_sites(site_merits(profile(), "transport", TRACK), 1)
    assert {a: list(sites) for a, sites in parted.items()} == {"A": [LAYERS[1]], "B": [LAYERS[2]]}


def test_of_equal_sites_the_lower_layer_is_kept() -> None:
    sites = ["block_output.10@entity_last", "block_output.9@entity_last"]
    assert list(best_sites({"A": dict.fromkeys(sites, 0.5)}, 1)["A"]) == [sites[1]]


def test_transport_needs_two_attributes_and_their_scores() -> None:
    alone = [record for record in profile() if record.attribute == "A"]
    with pytest.raises(SuiteError, match="two attributes at least"):
        site_merits(alone, "transport", TRACK)
    with pytest.raises(SuiteError, match="two attributes at least"):
        site_merits([], "transport", TRACK)


# --- savings and regret

BEST = {LAYERS[0]: 0.5, LAYERS[1]: 0.8, LAYERS[2]: 0.6, LAYERS[3]: 0.5}
OTHER = {LAYERS[0]: 0.7, LAYERS[1]: 0.5, LAYERS[2]: 0.9, LAYERS[3]: 0.5}


def test_savings_and_regret_by_hand() -> None:
    records = [
        *profile(),
        *fits(BEST, "A"),
        *fits(OTHER, "B"),
        *fits(dict.fromkeys(LAYERS, 1.0), "A", method="no_op"),
    ]
    one, two, three = search_outcomes(records, "full_vector", TRACK)
    # Layer 0 is kept: A loses 0.8 - 0.5, B 0.9 - 0.7. Of equal causes of 0.5 the lower layer is next.
    assert (one.kept, one.fits, one.sites) == (1, 0.25, (LAYERS[0],))
    assert (one.regret, one.worst, one.n) == (pytest.approx(0.25), pytest.approx(0.3), 2)
    assert (two.regret, two.worst) == (pytest.approx(0.1), pytest.approx(0.2))
    assert (three.regret, three.worst) == (pytest.approx(0.0), pytest.approx(0.0))
    parted = search_outcomes(records, "transport", TRACK)
    assert (parted[0].regret, parted[0].sites) == (pytest.approx(0.0), (LAYERS[1], LAYERS[2]))


def test_the_best_size_of_a_site_counts_and_seeds_are_averaged() -> None:
    better = {**BEST, LAYERS[0]: 0.9}
    records = [*profile(), *fits(BEST, "A"), *fits(better, "A", size=8), *fits(OTHER, "B")]
    (one, *_) = search_outcomes(records, "full_vector", TRACK)
    assert one.regret == pytest.approx((0.0 + 0.2) / 2)


def test_a_run_that_kept_sites_has_savings_and_no_regret() -> None:
    kept = {LAYERS[0]: 0.5}
    records = [*profile(), *fits(kept, "A"), *fits(kept, "B")]
    (found,) = search_outcomes(records, "full_vector", TRACK)
    assert (found.kept, found.fits, found.regret, found.worst) == (1, 0.25, None, None)


def test_the_table_has_a_block_for_each_rule() -> None:
    table = site_table([*profile(), *fits(BEST, "A"), *fits(OTHER, "B")], TRACK)
    assert [(row.block, row.label) for row in table.rows] == [
        (rule, f"{kept} of 4") for rule in ("full_vector", "transport") for kept in (1, 2, 3)
    ]
    assert [cell.value for cell in table.rows[0].cells] == pytest.approx([0.25, 0.25, 0.3])
    assert "| transport | 1 of 4 |" in render(table, "markdown").replace("  ", " ")
    with pytest.raises(SuiteError, match="two sites at least"):
        site_table(profile({LAYERS[0]: PARTS[LAYERS[0]]}), TRACK)
