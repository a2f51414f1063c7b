"""A run that test_resuming.py kills: python training_to_kill.py STEPS CHECKPOINT SECONDS."""

import sys
import time

import numpy as np

from fastopt import minimize, schedules


def train(steps, checkpoint=None, pause=0.0):
    """Return the result of a run that spends a large part of its time on writing its file."""
    X = np.random.default_rng(1).normal(size=(32, 5_000))

    def distance(x, X):
        time.sleep(pause)
        error = x - X.mean(axis=0)
        return error @ error / 2, error

    schedule = schedules.ReduceOnPlateau(0.1, patience=1)
    return minimize(
        distance, np.zeros(5_000), X, method="nadam", batch_size=7, seed=5, schedule=schedule,
        tol=0.0, patience=10**6, max_steps=steps, checkpoint=checkpoint,
    )  # fmt: skip


if __name__ == "__main__":
    steps, path, seconds = sys.argv[1:]
    print("started", flush=True)
    train(int(steps), path if seconds == "None" else (path, float(seconds)), pause=0.001)
