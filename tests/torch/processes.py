"""Processes that call functions together, connected by torch.distributed with gloo.

`processes(n)` starts n processes once and keeps them, because importing torch takes seconds.
"""

import functools
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path

import torch
import torch.distributed as dist

ROOT = str(Path(__file__).parents[2])
LIMIT = 240  # seconds that a call may take, the start of the processes included
LIMIT_OF_WAITING = 120  # seconds that a process waits for another; a deadlock then fails


class Processes:
    """`processes(f, *args)` returns the list of what f(*args) returns in each process.

    f is a function of a test module; args and results are pickled.
    """

    def __init__(self, n):
        context = multiprocessing.get_context("spawn")
        self.folder = tempfile.TemporaryDirectory()
        self.pipes, self.children = [], []
        # Children import test modules by the names that pytest gives them: tests.torch.*
        sys.path.append(ROOT)
        try:
            self.start(context, n)
        finally:
            sys.path.remove(ROOT)

    def start(self, context, n):
        for rank in range(n):
            ours, theirs = context.Pipe()
            child = context.Process(
                target=serve, args=(theirs, f"{self.folder.name}/store", rank, n), daemon=True
            )
            child.start()
            theirs.close()
            self.pipes.append(ours)
            self.children.append(child)

    def __call__(self, function, *args):
        for pipe in self.pipes:
            pipe.send((function, args))
        results, end = {}, time.monotonic() + LIMIT
        try:
            while len(results) < len(self.pipes):
                waiting = [pipe for pipe in self.pipes if pipe not in results]
                ready = wait(waiting, end - time.monotonic())
                if not ready:
                    ranks = [self.pipes.index(pipe) for pipe in waiting]
                    raise AssertionError(f"no answer from processes {ranks} in {LIMIT} seconds")
                for pipe in ready:
                    results[pipe], error = pipe.recv()
                    assert error is None, f"process {self.pipes.index(pipe)}:\n{error}"
        except BaseException:
            self.close()
            raise
        return [results[pipe] for pipe in self.pipes]

    def close(self):
        """Stop the processes. The next test starts others."""
        processes.cache_clear()
        for child in self.children:
            child.kill()
            child.join()
        for pipe in self.pipes:
            pipe.close()
        self.folder.cleanup()


processes = functools.cache(Processes)


def serve(pipe, store, rank, n):
    """Call what the pipe asks for, until it is closed."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        store=dist.FileStore(store, n),
        rank=rank,
        world_size=n,
        timeout=timedelta(seconds=LIMIT_OF_WAITING),
    )
    while True:
        try:
            function, args = pipe.recv()
        except EOFError:
            return
        try:
            answer = function(*args), None
        except BaseException:
            answer = None, traceback.format_exc()
        pipe.send(answer)
