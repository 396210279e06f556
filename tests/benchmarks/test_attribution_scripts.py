"""The tables that the scripts of token scores and of ReSet write, from invented figures."""

from __future__ import annotations

from pathlib import Path

from reset import WAYS, Found, Kept, table_of
from token_attribution import carriers_table, rows_of, said

from evaluation.report.common.token_scores import CarrierRow, InstanceAttribution, WayRow


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
    carrier = CarrierRow(2, 1.5, 0.25, 0.125, 0.9, (0.7, 0.8))
    found = InstanceAttribution(
        "context_val", 60, 55, "block_output.2@entity_last", 0.1, (way,), "gim", (), (carrier,), ()
    )
    assert rows_of("tiny", found) == [["tiny, gim", "0.600 (0.500 to 0.700)", "0.300", "0.500", "–", "2.0"]]
    assert "55 whose fact is at `block_output.2@entity_last`" in said("tiny", found)
    (line,) = carriers_table({"tiny": found}).splitlines()[2:]
    assert line == "| tiny, 2 | 1.500 | 0.250 | 0.125 | 0.900 | 0.775 (0.700 to 0.800) |"


def test_what_is_kept_of_reset_is_not_made_again(tmp_path: Path) -> None:
    made = {way: Found(4, 0.5, {"context": 0.25, "entity": 0.5}) for way in WAYS}
    calls: list[int] = []

    def make() -> dict[str, Found]:
        calls.append(1)
        return made

    path = tmp_path / "kept.jsonl"
    first = Kept(path, "a").rows("Country", 0, make)
    assert Kept(path, "a").rows("Country", 0, make) == first
    assert len(calls) == 1
    # Another seed, other settings, or no file: made now.
    for kept, seed in ((Kept(path, "a"), 1), (Kept(path, "b"), 0), (Kept(None, "a"), 0)):
        kept.rows("Country", seed, make)
    assert len(calls) == 4
    assert table_of(first).splitlines()[2].startswith("| mdas | 4 | 0 |")
