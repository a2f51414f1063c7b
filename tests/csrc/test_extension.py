"""What the two extension modules export to the rest of the process."""

import ctypes

import pytest

from fastopt import _core
from fastopt.kalman import _kalman


@pytest.mark.parametrize(
    ("module", "entry", "others"),
    [
        (_core, "PyInit__core", ["fo_step", "fo_plan_new", "fo_kernels", "fo_parallel_for"]),
        (_kalman, "PyInit__kalman", ["fo_kalman_rows", "fo_implicit"]),
    ],
)
def test_only_the_entry_point_is_exported(module, entry, others):
    """If another library exported the same name, its function could be called instead."""
    library = ctypes.CDLL(module.__file__)
    assert hasattr(library, entry)
    assert [name for name in others if hasattr(library, name)] == []
