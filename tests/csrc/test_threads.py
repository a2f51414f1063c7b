"""The number of threads of a step: options, environment variables, affinity and quotas."""

import os
import pickle

import numpy as np
import pytest
from support import printed

from fastopt import SGD, FastoptError, _core
from fastopt._cpus import cpu_quota

MANY = max(3 * _core.SERIAL_BELOW, 8 * _core.CHUNK) + 1  # elements, large enough for threads
PIECES = -(-MANY // _core.CHUNK)
ALL_CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
linux = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads in /proc")

# Arguments: code to run before the import, number of elements, options, code to run after it,
# gradient.
# Prints the number of threads of a step.
COUNT = """
import os, sys
first, n, options, then, gradient = sys.argv[1:]
exec(first)
import numpy, fastopt
def threads():
    return len(os.listdir("/proc/self/task"))
w = numpy.zeros(int(n))
opt = fastopt.SGD(w, **eval(options))
exec(then)
before = threads()
opt.step(eval(gradient))
print(threads() - before + 1)
"""


def counted(first="", n=MANY, options=None, then="", gradient="numpy.ones(w.size)", **environment):
    return int(printed(COUNT, first, n, options or {}, then, gradient, **environment))


@linux
@pytest.mark.parametrize(
    ("n", "options", "environment", "expected"),
    [
        (MANY, {"n_threads": 3}, {}, 3),
        (MANY, {"n_threads": 1}, {}, 1),
        (MANY, {}, {"FASTOPT_NUM_THREADS": "3"}, 3),
        (MANY, {}, {"FASTOPT_NUM_THREADS": "1"}, 1),
        (MANY, {"n_threads": 2}, {"FASTOPT_NUM_THREADS": "3"}, 2),
        (MANY, {}, {"OMP_NUM_THREADS": "3"}, 3),
        (MANY, {}, {"OMP_NUM_THREADS": "2", "FASTOPT_NUM_THREADS": "3"}, 3),
        (MANY, {}, {}, min(ALL_CPUS, cpu_quota() or ALL_CPUS, PIECES)),
        (1000, {"n_threads": 3}, {}, 1),  # too small for threads
        # An SGD step moves three numbers an element, one of Adam seven.
        (7 * 2**18 - 1, {"n_threads": 64}, {"FASTOPT_SERIAL_BELOW": str(3 * 2**18)}, 1),
        (7 * 2**18, {"n_threads": 64}, {"FASTOPT_SERIAL_BELOW": str(3 * 2**18)}, 16),
        (21 * 2**18, {"n_threads": 64}, {"FASTOPT_SERIAL_BELOW": str(3 * 2**18)}, 48),
    ],
)
def test_the_number_of_threads(n, options, environment, expected):
    assert counted(n=n, options=options, **environment) == expected


@linux
@pytest.mark.parametrize(
    "gradient",
    ["numpy.ones(w.size, 'f4')", "fastopt.RowSparse(range(w.size), numpy.ones(w.size))"],
)
def test_staged_and_sparse_gradients_are_shared_by_threads(gradient):
    assert counted(options={"n_threads": 3}, gradient=gradient) == 3


# CPU affinity and quota

ONE_CPU = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"


@linux
def test_the_default_is_limited_by_cpu_affinity():
    assert counted(first=ONE_CPU) == 1


@linux
@pytest.mark.skipif("clang" in _core.build()[0], reason="LLVM's OpenMP reads the affinity once")
def test_cpu_affinity_is_read_at_each_step():
    assert counted(then=ONE_CPU) == 1
    assert counted(then=ONE_CPU, options={"n_threads": 2}) == 2


V1, V2 = "3:cpuset:/\n2:cpu,cpuacct:/a/b\n0::/\n", "0::/a/b\n"


def quotas(root, groups, files):
    """Write the files in which Linux describes control groups, below a folder."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def v1(folder, quota, period=100_000):
    at = f"sys/fs/cgroup/cpu,cpuacct{folder}/cpu.cfs"
    return {f"{at}_quota_us": f"{quota}\n", f"{at}_period_us": f"{period}\n"}


def v2(folder, quota, period=100_000):
    return {f"sys/fs/cgroup{folder}/cpu.max": f"{quota} {period}\n"}


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        (V2, {}, None),
        (V2, v2("/a/b", "max"), None),
        (V2, v2("/a/b", 200_000), 2),
        (V2, v2("/a/b", 150_000), 2),
        (V2, v2("/a/b", 200_001), 3),
        (V2, v2("/a/b", 1_000), 1),
        (V2, v2("/a/b", 100_000, 50_000), 2),
        (V2, v2("/a", 300_000) | v2("/a/b", "max"), 3),  # the limit of the parent group
        (V2, v2("/a", 300_000) | v2("/a/b", 400_000), 3),
        (V2, v2("", 500_000), 5),  # a container's own group, at the root
        (V2, v2("/other", 100_000), None),
        (V2, {"sys/fs/cgroup/a/cpu.max": "whatever\n"}, None),
        (V1, v1("/a/b", -1), None),
        (V1, v1("/a/b", 250_000), 3),
        (V1, v1("", 200_000), 2),
        (V1, v1("/a", 200_000) | v1("/a/b", -1) | v2("", 700_000), 2),
        ("nonsense\n", v2("", 100_000), None),
    ],
)
def test_cpu_quota(groups, files, expected, tmp_path):
    quotas(tmp_path, groups, files)
    assert cpu_quota(str(tmp_path)) == expected


def test_cpu_quota_without_control_groups(tmp_path):
    assert cpu_quota(str(tmp_path)) is None


@linux
def test_the_default_is_limited_by_the_cpu_quota(tmp_path):
    quotas(tmp_path, V2, v2("/a/b", 100_000))
    first = f"""
import builtins
from_disk = builtins.open
def open_below(path, *args, **kwargs):
    if str(path).replace("//", "/").startswith(("/proc/self/cgroup", "/sys/fs/cgroup")):
        path = {str(tmp_path)!r} + path
    return from_disk(path, *args, **kwargs)
builtins.open = open_below
"""
    assert counted(first=first) == 1
    assert counted(first=first, options={"n_threads": 2}) == 2
    assert counted(first=first, OMP_NUM_THREADS="3") == 3


# threadpoolctl

LIMITED = """
import fastopt, threadpoolctl
def most():
    return fastopt._core.max_threads()
def of_openmp():
    pools = threadpoolctl.threadpool_info()
    return sorted(pool["num_threads"] for pool in pools if pool["user_api"] == "openmp")
print(most(), of_openmp())
with threadpoolctl.threadpool_limits(1):
    print(most(), of_openmp())
print(most(), of_openmp())
"""


@pytest.mark.skipif(not _core.openmp_version(), reason="a build without threads")
def test_threadpoolctl_reports_and_limits_threads():
    assert printed(LIMITED, OMP_NUM_THREADS="3").splitlines() == ["3 [3]", "1 [1]", "3 [3]"]


@linux
def test_a_threadpoolctl_limit_applies_to_existing_optimizers():
    limit = "import threadpoolctl; limits = threadpoolctl.threadpool_limits(1)"
    assert counted(then=limit, OMP_NUM_THREADS="3") == 1
    assert counted(then=limit + "; limits.restore_original_limits()", OMP_NUM_THREADS="3") == 3


# Values of FASTOPT_NUM_THREADS


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "two", " 2", "99999", "nan"])
def test_invalid_fastopt_num_threads(text, monkeypatch):
    monkeypatch.setenv("FASTOPT_NUM_THREADS", text)
    with pytest.raises((FastoptError, TypeError), match=rf"FASTOPT_NUM_THREADS is .*{text}"):
        SGD(np.zeros(2))
    SGD(np.zeros(2), n_threads=1)  # which does not read the variable


def test_the_largest_number_of_threads(monkeypatch):
    """More threads are of no use, and OpenMP terminates the process if it cannot create one."""
    most = max(64, 4 * os.cpu_count())
    opt = SGD(np.zeros(2), n_threads=most)
    for n_threads in (most + 1, 4096):
        with pytest.raises(FastoptError, match=rf"n_threads is {n_threads}; allowed: .*{most}"):
            SGD(np.zeros(2), n_threads=n_threads)
    monkeypatch.setattr(opt, "_n_threads", 4096)  # as on a machine with more CPUs
    copied = pickle.loads(pickle.dumps(opt))
    copied.step(np.ones(2))
    assert copied._n_threads == most


def test_empty_fastopt_num_threads(monkeypatch):
    monkeypatch.setenv("FASTOPT_NUM_THREADS", "")
    SGD(np.zeros(2)).step(np.ones(2))
