"""What importing fastopt does to the process: modules loaded, settings unchanged, errors."""

import json

import pytest
from support import printed, python

from fastopt import _core

IMPORT = """
import json, os, sys
before = dict(os.environ)
import numpy
known = set(sys.modules)
import fastopt
new = sorted({name.partition(".")[0] for name in set(sys.modules) - known})
w = numpy.full(200_000, 5e-324)  # enough for threads: flush-to-zero is a setting of each thread
fastopt.SGD(w, n_threads=2).step(numpy.zeros(200_000))
print(json.dumps({
    "new": new,
    "environment": dict(os.environ) == before,
    "subnormal": sys.float_info.min / 2,
    "kept": int(numpy.count_nonzero(w)),
}))
"""


@pytest.mark.parametrize(
    "environment",
    [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "passive"}, {"FASTOPT_SPIN": "active"},
     {"FASTOPT_SPIN": "20"}],
    ids=str,
)  # fmt: skip
def test_the_import_does_not_change_the_settings_of_the_process(environment):
    seen = json.loads(printed(IMPORT, **environment))
    assert seen["environment"], "os.environ has changed"
    assert seen["subnormal"] != 0.0
    assert seen["kept"] == 200_000
    heavy = {"scipy", "matplotlib", "sklearn", "rich", "torch", "jax", "pandas", "keras"}
    assert "fastopt" in seen["new"]
    assert not heavy & set(seen["new"])


def test_a_failed_import_leaves_the_environment_unchanged():
    assert (
        printed(
            "import os\nbefore = dict(os.environ)\n"
            "try:\n    import fastopt\nexcept ImportError:\n    print(dict(os.environ) == before)",
            FASTOPT_ISA="v0",
        )
        == "True"
    )


@pytest.mark.skipif(
    not (_core.openmp_version() and _core.build()[0].startswith("gcc")),
    reason="GOMP_SPINCOUNT is a variable of libgomp",
)
@pytest.mark.parametrize(
    ("environment", "spins"),
    [({}, "1000"), ({"FASTOPT_SPIN": "20"}, "20"), ({"GOMP_SPINCOUNT": "7"}, "7")],
    ids=str,
)
def test_libgomp_receives_the_spin_count(environment, spins):
    """The libgomp that is loaded (in a wheel, the wheel's copy) prints its settings."""
    settings = python("import fastopt", OMP_DISPLAY_ENV="verbose", **environment).stderr
    assert f"GOMP_SPINCOUNT = '{spins}'" in settings


OTHER_INTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import numpy, fastopt
opt = fastopt.SGD(numpy.zeros(200_000), lr=1.0, n_threads=2)
opt.step(numpy.ones(200_000))
other = interpreters.create()
interpreters.run_string(other, '''
try:
    import fastopt
except ImportError:
    print("refused", flush=True)
''')
interpreters.destroy(other)
opt.step(numpy.ones(200_000))
print(numpy.unique(opt.params))
"""


def test_a_second_interpreter_is_refused_and_the_first_still_works():
    assert printed(OTHER_INTERPRETER).splitlines() == ["refused", "[-2.]"]
