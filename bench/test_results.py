"""The text of bench/RESULTS.md, above all where it says that another library is faster."""

import pytest

from bench.peers.cases import CASES, FASTOPT, TORCH_DOOR, TORCH_DOOR_PARAM
from bench.peers.report import SECTIONS, fastest, report, section_of, slower
from bench.peers.results import Row

BY_NAME = {case.name: case for case in CASES}
CASE = BY_NAME["Adam, 1e6"]


def rows(case, threads=1, failure=None, **seconds):
    """Return a row for each library, of two rounds of equal times."""
    times = {name.replace("_", " ").replace("door", TORCH_DOOR): s for name, s in seconds.items()}
    rounds = [times, times]
    return [Row(case, name, threads, rounds, failure and failure.get(name)) for name in times]


@pytest.mark.parametrize(
    ("seconds", "failure", "behind", "door_behind"),
    [
        ({"fastopt": 2.0, "torch": 2.0, "NumPy": 3.0}, None, [], []),
        ({"fastopt": 2.0, "torch": 1.0, "NumPy": 1.5}, None, ["torch 0.50", "NumPy 0.75"], []),
        ({"fastopt": 2.0, "torch": 1.9999}, None, [], []),  # printed as 1.00
        ({"fastopt": 2.0, "torch": 1.0}, {"torch": "differs"}, [], []),
        ({"fastopt": 2.0, "limit": 1.0, "C_loop": 1.0, "fastopt_stochastic": 1.0}, None, [], []),
        (
            {"fastopt": 2.0, "door": 4.0, "torch_fused": 3.0, "NumPy": 3.0},
            None,
            [],
            ["torch fused 0.75"],
        ),
    ],
)
def test_every_cell_in_which_another_library_is_faster(seconds, failure, behind, door_behind):
    measured = rows(CASE, failure=failure, **seconds)
    for ours, expected in ((FASTOPT, behind), (TORCH_DOOR, door_behind)):
        found = slower(measured, ours)
        assert [f"{library} {ratio}" for _, _, library, ratio in found] == expected
        assert {(name, threads) for name, threads, *_ in found} <= {(CASE.name, "1")}


def test_small_state_is_compared_with_torch():
    times = {FASTOPT: 1.0, TORCH_DOOR_PARAM: 4.0, "torch fused": 3.0, "DeepSpeed": 3.0}
    measured = [Row(CASE, name, 1, [times], None) for name in times]
    assert slower(measured, TORCH_DOOR_PARAM) == [[CASE.name, "1", "torch fused", "0.75"]]


def test_the_fastest_other_library_counts():
    other = BY_NAME["Adam, 1e7"]
    measured = [
        *rows(CASE, fastopt=1.0, door=0.5, torch=4.0, NumPy=3.0, limit=0.5),
        *rows(other, fastopt=1.0, torch=2.0),
        *rows(other, threads=2, fastopt=1.0, torch=9.0),
    ]
    assert fastest(measured, 1) == [2.0, 3.0]
    assert fastest(measured, 2) == [9.0]


def test_each_case_has_a_section():
    assert {section_of(case) for case in CASES} == {*SECTIONS}
    measured = [
        row
        for n in (1, 2)
        for case in CASES
        for row in rows(case, threads=n, fastopt=1.0, torch=2.0)
    ]
    text = report(measured, "python -m bench.peers", ["a machine"])
    assert text.count("<details>") == len(SECTIONS)
    for title, _ in SECTIONS.values():
        anchor = title.lower().replace(",", "").replace(" ", "-")
        assert f"\n## {title}\n" in text
        assert f"](#{anchor})" in text
    assert f"| {CASE.name} | 1e+03 ms | 2.00 |" in text
    assert text.count("\n0 of ") == 3
