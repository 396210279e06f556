"""The tables that the scripts of token scores and of ReSet write, from invented figures."""

from __future__ import annotations

from reset import WAYS, table_of
from token_attribution import rows_of, said

from evaluation.report.common.token_scores import InstanceAttribution, WayRow


def test_the_table_of_reset_is_of_means_over_attributes_with_the_range_of_seeds() -> None:
    rows = [
        {
            "attribute": attribute,
            "seed": seed,
            "way": way,
            "passes": 100,
            "seconds": 2.0,
            "scores": {"context": 0.1 * number + 0.2 * seed, "entity": 0.5},
        }
        for way in WAYS
        for seed in (0, 1)
        for number, attribute in enumerate("AB")
    ]
    lines = table_of(rows).splitlines()
    assert len(lines) == 2 + len(WAYS)
    assert lines[2] == "| mdas | 200 | 4 | 0.150 (0.050 to 0.250) | 0.500 (0.500 to 0.500) |"


def test_the_rows_of_token_scores() -> None:
    way = WayRow("gim", 0.6, (0.5, 0.7), 0.3, None, 0.5, None, None, None, (0.6,), (None,), 0.12)
    found = InstanceAttribution(
        "context_val", 60, 55, "block_output.2@entity_last", 0.1, (way,), "gim", (), (), ()
    )
    assert rows_of("tiny", found) == [["tiny, gim", "0.600 (0.500 to 0.700)", "0.300", "0.500", "–", "2.0"]]
    assert "55 whose fact is at `block_output.2@entity_last`" in said("tiny", found)
