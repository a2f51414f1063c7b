"""fastopt in one process with torch, scikit-learn, and NumPy's and SciPy's OpenBLAS.

Depending on the order of imports, these libraries share an OpenMP runtime or load a separate one.
In every order there must be no deadlock (each script runs in a separate interpreter, for at most a
minute) and all results must be right.
"""

import pytest
from support import printed

TOGETHER = """
import importlib, sys
for name in sys.argv[2:]:
    importlib.import_module(name)
from concurrent.futures import ThreadPoolExecutor
import numpy, scipy.linalg, sklearn.ensemble, torch, fastopt

torch.set_num_threads(2)
rng = numpy.random.default_rng(0)
X = rng.standard_normal((200, 200))
symmetric = X @ X.T + 200 * numpy.eye(200)
labels = X[:, 0] > 0
wide = torch.ones(500_000)
w = numpy.ones(200_000)

def by_fastopt():
    opt = fastopt.Adam(w.copy(), lr=0.1, max_grad_norm=1.0, n_threads=2)
    for t in range(1, 4):
        opt.step(w * t)
    return opt.params

def by_numpy():
    return X @ symmetric

def by_scipy():
    return scipy.linalg.cho_solve(scipy.linalg.cho_factor(symmetric), X)

def by_torch():
    leaf = wide.clone().requires_grad_()
    (leaf.sqrt() * 3).sum().backward()
    optimizer = torch.optim.Adam([leaf], fused=True)
    optimizer.step()
    return leaf.detach().numpy()

def by_sklearn():
    trees = sklearn.ensemble.HistGradientBoostingClassifier(max_iter=2, random_state=0)
    return trees.fit(X, labels).predict_proba(X)

def same(found, expected):
    if found is not expected:
        numpy.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)

calls = [by_fastopt, by_numpy, by_scipy, by_torch, by_sklearn]
alone = {call: call() for call in calls}
one = fastopt.Adam(w.copy(), lr=0.1, max_grad_norm=1.0, n_threads=1)
for t in range(1, 4):
    one.step(w * t)
assert one.params.tobytes() == alone[by_fastopt].tobytes()

if sys.argv[1] == "sequentially":
    for _ in range(3):
        for call in calls[1:]:
            same(call(), alone[call])
            assert by_fastopt().tobytes() == alone[by_fastopt].tobytes()
else:
    def repeat(call):
        return [call() for _ in range(3)]
    with ThreadPoolExecutor(len(calls)) as pool:
        for call, results in zip(calls, pool.map(repeat, calls)):
            for result in results:
                same(result, alone[call])
print("done")
"""


ORDERS = [
    ("fastopt", "torch", "sklearn.ensemble"),
    ("torch", "sklearn.ensemble", "fastopt"),
    ("sklearn.ensemble", "fastopt", "torch"),
]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("how", ["sequentially", "concurrently"])
def test_threads_of_other_libraries(how, order):
    assert printed(TOGETHER, how, *order, OPENBLAS_NUM_THREADS="2") == "done"


FORK = """
import importlib, os, signal, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
import numpy, torch, fastopt

torch.set_num_threads(2)
wide = torch.ones(4_000_000)
(wide * 2 + wide.sqrt()).sum()
reading, writing = os.pipe()
if os.fork() == 0:
    signal.alarm(15)
    w = numpy.zeros(200_000)
    fastopt.SGD(w, lr=1.0, n_threads=2).step(numpy.ones(200_000))
    os.write(writing, b"done" if (w == -1).all() else b"wrong")
    os._exit(0)
os.wait()
os.close(writing)
print(os.read(reading, 10).decode())
"""


@pytest.mark.parametrize("order", [("fastopt", "torch"), ("torch", "fastopt")])
def test_a_process_forked_after_torch_used_threads(order):
    """The threads that are lost in the fork may belong to an OpenMP runtime shared with torch."""
    assert printed(FORK, *order) == "done"
