"""A process for each library: its pools have their size, its heap stays warm, its faults are its.

Libraries bring OpenMP runtimes and thread pools of their own, which spin for a while after a call
and count the same CPUs: in one process, each would be measured beside the others' threads.  The
processes wait while one of them works.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from bench.cases import FASTOPT, LIMIT, STOCHASTIC, Case

TURN = 0.03  # seconds that a turn takes at least
# Memory that was freed is used again rather than given back: temporaries are not of fresh pages.
WARM_HEAP = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_ARENA_MAX": "1",
}
OF_OPENBLAS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # which would choose its kernels


class FailedError(Exception):
    """A library has not done what it was asked to; the message is for the table."""


class Worker:
    """A library in a process of its own, with as many CPUs as threads."""

    def __init__(self, library: str, threads: int) -> None:
        self.library = library
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, library, threads), daemon=True)
        # Importing fastopt bounds how long OpenMP's threads spin: a peer keeps its own bound.
        spin = {} if library in (FASTOPT, STOCHASTIC, LIMIT) else {"FASTOPT_SPIN": "active"}
        with _surroundings(threads, spin):
            self._process.start()
        theirs.close()

    def start(self, case: Case) -> None:
        """Begin to set up a case; `finish` waits for it."""
        with contextlib.suppress(FailedError):  # finish() will tell
            self._send("set_up", case)

    def finish(self) -> Any:
        """Return the first parameters after some steps, or None."""
        return self._receive()

    def calibrate(self) -> None:
        """Find how many calls make up a turn."""
        self._send("calibrate")
        self._receive()

    def run(self) -> float:
        """Return the seconds of a call, or of a row, over a turn."""
        self._send("run")
        return float(self._receive())

    def drop(self) -> None:
        """Give the memory of the case back."""
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
    """Let a process that is started here inherit CPUs, sizes of pools and a heap that stays."""
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
    """Order CPUs so that those that share a core with one before come last."""
    seen, first, second = set(), [], []
    for cpu in cpus:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        core = path.read_text() if path.exists() else str(cpu)
        (second if core in seen else first).append(cpu)
        seen.add(core)
    return first + second


def serve(pipe: Connection, library: str, threads: int) -> None:
    """Answer the parent, until it ends: with a failure's text, or what was asked for."""
    os.dup2(2, 1)  # stdout is for results; libraries write to it
    from bench.libraries import DoesNotBuildError, library_of
    from fastopt.cli.bench.steps import seconds

    timed: Any = None
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
                for _ in range(arguments[0].warm_up):
                    timed.call()
                if timed.look and arguments[0].dtype == "float32":
                    answer = np.array(timed.look().ravel()[:64], float)
            elif order == "calibrate":
                times = 1
                if seconds(timed.call, 1) < TURN:
                    times = max(1, int(TURN / seconds(timed.call, 1)))
            elif order == "run":
                if times > 1:
                    timed.call()  # what was cold, or asleep, is not part of a loop of calls
                answer = seconds(timed.call, times) / timed.rows
            else:
                timed = None
                _give_back()
        except ModuleNotFoundError:
            answer = "not installed"
        except DoesNotBuildError:
            answer = "does not build"
        except Exception as error:
            print(f"{library}: {error}", file=sys.stderr, flush=True)
            answer = type(error).__name__
        pipe.send(answer)


def _give_back() -> None:
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
