"""A separate process for each library, so that libraries do not affect each other's times.

Libraries have different OpenMP runtimes and thread pools, which spin for a while after a call and
use the same CPUs. In one process, each would be timed together with the threads of the others. All
processes wait while one of them works.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.cases import FASTOPT, LIMIT, STOCHASTIC, TORCH_DOOR, TORCH_DOOR_PARAM, Case

TURN = 0.03  # minimum seconds of a turn; a turn is the timed calls of one library in one round
# The allocator keeps memory that was freed, so that temporaries are not on new pages.
WARM_HEAP = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_ARENA_MAX": "1",
}
OURS = (FASTOPT, STOCHASTIC, TORCH_DOOR, TORCH_DOOR_PARAM, LIMIT)
OF_OPENBLAS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # they would select OpenBLAS kernels


class FailedError(Exception):
    """A library failed; the table contains the message."""


class Worker:
    """A library in a separate process, with as many CPUs as threads."""

    def __init__(self, library: str, threads: int) -> None:
        self.library = library
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, library, threads), daemon=True)
        # An import of fastopt limits how long OpenMP's threads spin; "active" keeps the default.
        spin = {} if library in OURS else {"FASTOPT_SPIN": "active"}
        with _surroundings(threads, spin):
            self._process.start()
        theirs.close()

    def start(self, case: Case) -> None:
        """Begin to set up a case; `finish` waits for it."""
        with contextlib.suppress(FailedError):  # finish() raises it again
            self._send("set_up", case)

    def finish(self) -> Any:
        """Wait for the set-up; return the first parameters after some steps, or None."""
        return self._receive()

    def calibrate(self) -> float | None:
        """Choose the number of calls in a turn; return the memory of a call for a table."""
        self._send("calibrate")
        return self._receive()

    def run(self) -> float:
        """Return the seconds per call, or per row, in one turn."""
        self._send("run")
        return float(self._receive())

    def drop(self) -> None:
        """Release the memory of the case."""
        with contextlib.suppress(FailedError):
            self._send("drop")
            self._receive()

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()

    def _send(self, *message: Any) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            raise FailedError(self._death()) from None

    def _receive(self) -> Any:
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            raise FailedError(self._death()) from None
        if isinstance(answer, str):
            raise FailedError(answer)
        return answer

    def _death(self) -> str:
        self._process.join(1)
        return f"process ended ({self._process.exitcode})"


@contextlib.contextmanager
def _surroundings(threads: int, more: dict[str, str]) -> Iterator[None]:
    """Set the CPUs and the environment that a process started in this context inherits."""
    before, names = dict(os.environ), ("OMP", "OPENBLAS", "MKL", "FASTOPT")
    os.environ.update({f"{name}_NUM_THREADS": str(threads) for name in names} | WARM_HEAP | more)
    for name in OF_OPENBLAS:
        os.environ.pop(name, None)
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    try:
        if cpus:
            os.sched_setaffinity(0, distinct_cores(sorted(cpus))[:threads])
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        if cpus:
            os.sched_setaffinity(0, cpus)


def distinct_cores(cpus: list[int]) -> list[int]:
    """Return CPUs with one of each core first, then those that share a core with an earlier one."""
    seen, first, second = set(), [], []
    for cpu in cpus:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        core = path.read_text() if path.exists() else str(cpu)
        (second if core in seen else first).append(cpu)
        seen.add(core)
    return first + second


def serve(pipe: Connection, library: str, threads: int) -> None:
    """Answer requests of the parent process, until it ends, with a result or a failure's text."""
    os.dup2(2, 1)  # libraries write to stdout, which is for results
    from bench.peers.libraries import DoesNotBuildError, library_of
    from fastopt.cli.bench.steps import seconds

    timed: Any = None
    memory: float | None = None
    first = 0.0  # seconds of the first call
    times = 1
    while True:
        try:
            order, *arguments = pipe.recv()
        except EOFError:
            return
        answer: Any = None
        try:
            if order == "set_up":
                timed = library_of(arguments[0])[library](arguments[0], threads)
                if arguments[0].rows:
                    begin = time.perf_counter()
                    memory = peak(timed.call)
                    first = time.perf_counter() - begin
                else:
                    for _ in range(arguments[0].warm_up):
                        timed.call()
                if timed.look and arguments[0].dtype != "bfloat16":
                    n_compared = None if arguments[0].rows else 64
                    answer = np.array(timed.look().ravel()[:n_compared], float)
            elif order == "calibrate":
                times = 1
                if first < TURN and seconds(timed.call, 1) < TURN:
                    times = max(1, int(TURN / seconds(timed.call, 1)))
                answer = memory
            elif order == "run":
                if times > 1:
                    timed.call()  # wakes threads and fills caches before the timed calls
                answer = seconds(timed.call, times) / timed.rows
            else:
                timed, memory, first = None, None, 0.0
                _give_back()
        except ModuleNotFoundError:
            answer = "not installed"
        except DoesNotBuildError:
            answer = "does not build"
        except Exception as error:
            print(f"{library}: {error}", file=sys.stderr, flush=True)
            answer = type(error).__name__
        pipe.send(answer)


def peak(call: Callable[[], object]) -> float | None:
    """Make a call; return the most bytes that it had beyond those before it, where Linux says so.

    The file clear_refs is described in the manual page proc(5).
    """
    _give_back()
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        call()
        return None
    reset.write_text("5")  # sets VmHWM, the peak of the process, to VmRSS
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _give_back() -> None:
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
