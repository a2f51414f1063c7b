"""Threads of ours beside those of torch, scikit-learn, and NumPy's and SciPy's OpenBLAS.

Some share an OpenMP runtime and some bring their own, by the order of imports; whatever the order,
nobody waits for ever (an interpreter of its own is given a minute) and all results are right.
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

def ours():
    opt = fastopt.Adam(w.copy(), lr=0.1, max_grad_norm=1.0, n_threads=2)
    for t in range(1, 4):
        opt.step(w * t)
    return opt.params

def of_numpy():
    return X @ symmetric

def of_scipy():
    return scipy.linalg.cho_solve(scipy.linalg.cho_factor(symmetric), X)

def of_torch():
    leaf = wide.clone().requires_grad_()
    (leaf.sqrt() * 3).sum().backward()
    optimizer = torch.optim.Adam([leaf], fused=True)
    optimizer.step()
    return leaf.detach().numpy()

def of_sklearn():
    trees = sklearn.ensemble.HistGradientBoostingClassifier(max_iter=2, random_state=0)
    return trees.fit(X, labels).predict_proba(X)

def same(found, expected):
    if found is not expected:
        numpy.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)

calls = [ours, of_numpy, of_scipy, of_torch, of_sklearn]
alone = {call: call() for call in calls}
one = fastopt.Adam(w.copy(), lr=0.1, max_grad_norm=1.0, n_threads=1)
for t in range(1, 4):
    one.step(w * t)
assert one.params.tobytes() == alone[ours].tobytes()

if sys.argv[1] == "in turn":
    for _ in range(3):
        for call in calls[1:]:
            same(call(), alone[call])
            assert ours().tobytes() == alone[ours].tobytes()
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
@pytest.mark.parametrize("how", ["in turn", "at once"])
def test_threads_of_others(how, order):
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
    """The threads that are lost may be those of an OpenMP runtime that is ours too."""
    assert printed(FORK, *order) == "done"
