"""Benchmarks, run from the top of a checkout after `pip install -e '.[bench]'`.

| command | what it answers |
|---|---|
| `fastopt bench` | Which share of the memory limit does each rule reach? (an installed command) |
| `python -m bench.share` | The same, with the variation over several processes |
| `python -m bench.peers` | How fast are other libraries? `--write` makes RESULTS.md |
| `python -m bench.peers --cases glm` | The same, for fits of tables, with their memory |
| `python -m bench.sparse` | The same, with gradients of some rows (`bench.peers --cases sparse`) |
| `python -m bench.layouts` | What do transposed or sliced gradients cost, and bfloat16 moments? |
| `python -m bench.threads` | Can two Python threads step two optimizers without loss of time? |
| `python -m bench.blas` | Do the threads of steps and of matrix products slow each other down? |
| `python -m bench.muon` | Which share of the rate of matrix products does Muon reach? |
| `python -m bench.state8` | How much longer does a step with state of 8 bits take? |
| `python -m bench.chunks` | Which share of the chunks stays with its thread from step to step? |
| `python -m bench.gaps` | From which size are two threads faster after idle times? |
| `python -m bench.kalman` | How fast is KalmanSGD, compared with NumPy, BLAS and other packages? |
| `python -m bench.online` | How fast are the Kalman estimators, beside scikit-learn and river? |
| `python -m bench.accuracy` | How accurate are coefficients and covariance of KalmanSGD? |
| `python -m bench.nist` | How many correct digits has KalmanSGD on NIST's linear problems? |
| `python -m bench.large_files` | How much time and memory does a fit of a large file need? |
| `python -m bench.claims` | Do rare features favour AdaGrad? Does kSGD need no learning rate? |
| `pytest bench` | Has a change made a step or KalmanSGD slower? (pytest-benchmark) |

A package or module that is not installed is left out of a comparison, or named in the error.
`bench.compiled` compiles the C of a benchmark.

To find a change that makes something slower, compare two runs on the same machine:

    pytest bench -k adam --benchmark-save before                    (at the old commit)
    pytest bench -k adam --benchmark-compare --benchmark-compare-fail median:10%

`--benchmark-json FILE` writes all figures; `-k "adam- and 100000-1-step"` selects tests.

Timings on shared machines are noisy: quote ratios from one run, and medians. Unset
OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE for benchmarks, since they select the kernels of OpenBLAS.
"""
