"""Steps in programs with threads, worker processes and torch.compile."""

import threading

import pytest
import torch

from tests.torch.pairs import (
    DENSE,
    OPTIONS,
    PAIRS,
    assert_same,
    make_pair,
    make_params,
    normal,
    params_of,
    plain,
    set_gradients,
)

SHAPES = [(3, 4), (5,)]


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_step_inside_a_compiled_function(name):
    """The step is run outside of the graph."""
    torch._dynamo.reset()

    def trained(cls, wrap):
        opt = cls(make_params(SHAPES), **{**OPTIONS[name], **plain(name)})

        def update():
            loss = sum((p**2).sum() for p in params_of(opt))
            loss.backward()
            opt.step()
            opt.zero_grad()

        update = wrap(update)
        for _ in range(3):
            update()
        return [(p.detach(), dict(opt.state[p])) for p in params_of(opt)]

    ours, theirs = PAIRS[name]
    compiled = trained(ours, lambda f: torch.compile(f, backend="eager"))
    assert_same(compiled, trained(theirs, lambda f: f), 1e-6, "compiled")


@pytest.mark.parametrize("name", DENSE)
def test_steps_of_several_threads(name):
    """Optimizers of different models step at the same time."""
    pairs = [make_pair(name, lambda: make_params([(300, 50)]), **OPTIONS[name]) for _ in range(4)]

    def train(opt):
        for t in range(20):
            set_gradients([opt], t)
            opt.step()

    threads = [threading.Thread(target=train, args=(ours,)) for ours, _ in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    train(pairs[0][1])
    for ours, _ in pairs:
        assert_same(params_of(ours), params_of(pairs[0][1]), 1e-5, "after 20 steps")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python's, of any fork
def test_steps_between_batches_of_worker_processes():
    ours, theirs = pair = make_pair("AdamW", lambda: make_params([(300, 50)]), **OPTIONS["AdamW"])
    batches = torch.utils.data.DataLoader(
        normal((4, 300, 50), 0), num_workers=2, multiprocessing_context="fork"
    )
    for opt in pair:
        for batch in batches:
            params_of(opt)[0].grad = batch[0]
            opt.step()
    assert_same(params_of(ours), params_of(theirs), 1e-6, "after 4 batches")
