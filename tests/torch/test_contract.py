"""Hooks, closures, the profiler, GradScaler and copies behave as with torch's class."""

import copy
import pickle

import pytest
import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from tests.torch.pairs import DENSE, make_params, outcome, params_of, set_gradients
from tests.torch.scenarios import SHAPES, assert_same_result, fit, model_and_data, seen, steps


def hooks_of_step(cls, options):
    opt = cls(make_params(SHAPES), **options)
    events = []

    def note(name):
        def hook(optimizer, args, kwargs):
            p = params_of(optimizer)[0]
            state = optimizer.state.get(p, {})
            events.append((name, optimizer is opt, len(args) + len(kwargs), p.detach().clone(),
                           sorted(state)))  # fmt: skip

        return hook

    handles = [
        register_optimizer_step_pre_hook(note("pre, of all")),
        register_optimizer_step_post_hook(note("post, of all")),
        opt.register_step_pre_hook(note("pre")),
        opt.register_step_post_hook(note("post")),
    ]
    set_gradients([opt], 1)
    try:
        opt.step()
        opt.step(closure=lambda: 3.5)
        opt.step(lambda: 3.5)
    finally:
        for handle in handles:
            handle.remove()
    opt.step()
    return events, seen(opt)


def hook_that_replaces_the_closure(cls, options):
    opt = cls(make_params(SHAPES), **options)
    opt.register_step_pre_hook(lambda opt, args, kwargs: ((opt, lambda: 8.5), {}))
    set_gradients([opt], 1)
    return opt.step(lambda: 1.5), seen(opt)


def hook_that_returns_nonsense(cls, options):
    opt = cls(make_params(SHAPES), **options)
    opt.register_step_pre_hook(lambda opt, args, kwargs: 7)
    error, text = outcome(opt.step)
    return error, text.split(">")[-1]


def hook_that_changes_gradients_and_options(cls, options):
    opt = cls(make_params(SHAPES), **options)

    def hook(opt, args, kwargs):
        torch.nn.utils.clip_grad_norm_(params_of(opt), 0.1)
        opt.param_groups[0]["lr"] /= 2

    opt.register_step_pre_hook(hook)
    return steps(opt)


def hooks_of_state_dicts(cls, options):
    opt, other = (cls(make_params(SHAPES), **options) for _ in range(2))
    steps(opt)
    events = []

    def saved(optimizer, state_dict):
        events.append(("saved", optimizer is opt, list(state_dict)))
        return {**state_dict, "note": 1}

    def loading(optimizer, state_dict):
        tensors = [v for s in state_dict["state"].values() for v in s.values()]
        events.append(("loading", optimizer is other, list(state_dict), list(map(type, tensors))))
        state_dict["param_groups"] = copy.deepcopy(state_dict["param_groups"])
        state_dict["param_groups"][0]["lr"] = 0.03
        return state_dict

    opt.register_state_dict_pre_hook(lambda optimizer: events.append(("saving", optimizer is opt)))
    opt.register_state_dict_post_hook(saved)
    other.register_load_state_dict_pre_hook(loading)
    other.register_load_state_dict_pre_hook(
        lambda optimizer, state_dict: events.append("first"), prepend=True
    )
    other.register_load_state_dict_post_hook(
        lambda optimizer: events.append(("loaded", len(optimizer.state)))
    )
    other.load_state_dict(state_dict=opt.state_dict())
    return events, other.param_groups[0]["lr"], steps(other)


def profiler(cls, options):
    opt = cls(make_params(SHAPES), **options)
    set_gradients([opt], 1)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as record:
        opt.step()
        opt.zero_grad()
    return sorted(e.name for e in record.events() if e.name.startswith("Optimizer"))


def closure(cls, options):
    model, x = model_and_data()
    opt = cls(model.parameters(), **options)
    enabled = []

    def loss():
        enabled.append(torch.is_grad_enabled())
        opt.zero_grad()
        value = model(x).square().sum()
        value.backward()
        return value

    with torch.no_grad():
        values = [opt.step(loss), opt.step(closure=loss)]
        enabled.append(torch.is_grad_enabled())
    values.append(opt.step(loss))
    enabled.append(torch.is_grad_enabled())
    return enabled, [v.detach() for v in values], seen(opt), opt.step()


def closure_that_raises(cls, options):
    opt = cls(make_params(SHAPES), **options)
    set_gradients([opt], 1)

    def fail():
        raise RuntimeError("no batch")

    return outcome(lambda: opt.step(fail)), torch.is_grad_enabled(), seen(opt)


def scaler(cls, options, unscale=False, bad=()):
    model, x = model_and_data()
    opt = cls(model.parameters(), **options)
    grad_scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    results = []
    for t in range(5):
        opt.zero_grad()
        grad_scaler.scale(model(x).square().sum()).backward()
        if t in bad:
            params_of(opt)[1].grad[0] = torch.inf
        if unscale:
            grad_scaler.unscale_(opt)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        value = grad_scaler.step(opt)
        grad_scaler.update()
        updated = [(p.detach(), dict(opt.state.get(p, {}))) for p in params_of(opt)]
        results.append((value, grad_scaler.get_scale(), copy.deepcopy(updated)))
    return results, hasattr(opt, "grad_scale"), hasattr(opt, "found_inf")


def scaler_with_inf(cls, options):
    return scaler(cls, options, bad=(0, 2))


def scaler_with_clipping(cls, options):
    return scaler(cls, options, unscale=True, bad=(3,))


def pickled(cls, options):
    opt = cls(make_params(SHAPES), **options)
    steps(opt)
    other = pickle.loads(pickle.dumps(opt))
    return [p.grad for p in params_of(other)], other.step(), steps(other), steps(opt)


def deep_copied(cls, options):
    opt = cls(make_params(SHAPES), **options)
    steps(opt)
    other = copy.deepcopy(opt)
    first = steps(other)
    return first, seen(opt), steps(opt), type(other) is cls


def pickled_before_the_first_step(cls, options):
    return steps(pickle.loads(pickle.dumps(cls(make_params(SHAPES), **options))))


def deep_copied_with_the_model(cls, options):
    model, x = model_and_data()
    opt = cls(model.parameters(), **options)
    fit(model, opt, x)
    other_model, other = copy.deepcopy((model, opt))
    first = fit(other_model, other, x)
    return first, [p.detach() for p in model.parameters()], fit(model, opt, x)


SCENARIOS = [
    hooks_of_step, hook_that_replaces_the_closure, hook_that_returns_nonsense,
    hook_that_changes_gradients_and_options, hooks_of_state_dicts, profiler, closure,
    closure_that_raises, scaler, scaler_with_inf, scaler_with_clipping, pickled, deep_copied,
    pickled_before_the_first_step, deep_copied_with_the_model,
]  # fmt: skip


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_scenario(scenario, name):
    assert_same_result(scenario, name)
