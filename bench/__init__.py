"""Benchmarks, from the top of a checkout, installed with `pip install -e '.[bench]'`.

    fastopt bench               each rule's share of the memory limit (the installed command)
    python -m bench.peers       everything beside other libraries; --write makes RESULTS.md
    pytest bench                pytest-benchmark's groups: by rule, size and threads the step and
                                the limit; NumPy; KalmanSGD
    python -m bench.share       each rule's share of the memory limit, over several processes
    python -m bench.layouts     gradients that lie otherwise than the parameter; bfloat16 moments
    python -m bench.blas        a matrix product alone, a step alone, the two alternated
    python -m bench.kalman      KalmanSGD beside NumPy, BLAS, the rate of dgemm and other packages
    python -m bench.accuracy    KalmanSGD against ridge regression, posteriors, replications
    python -m bench.nist        correct digits on NIST's linear problems, beside statsmodels
    python -m bench.gaps        one thread against two after idle times: the serial threshold
    python -m bench.threads     two optimizers in two Python threads, beside one after the other

A change that slows something down is found by comparing runs of one machine:

    pytest bench -k adam --benchmark-save before                    (at the old commit)
    pytest bench -k adam --benchmark-compare --benchmark-compare-fail median:10%

--benchmark-json FILE writes every figure; -k "adam- and 100000-1-step" and the like choose.

Shared machines are noisy: quote ratios of the same run, and medians.  Where OPENBLAS_CORETYPE or
OPENBLAS_L2_SIZE are set they choose OpenBLAS's kernels: unset them for benchmarks.
"""
