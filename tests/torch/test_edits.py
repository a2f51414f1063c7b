"""Users edit groups, parameters and state between steps; the next step gives torch's result."""

import copy
from collections import defaultdict

import pytest
import torch
from torch.nn import Parameter

from tests.torch.pairs import DENSE, make_params, normal, outcome, params_of
from tests.torch.scenarios import SHAPES, assert_same_result, fit, model_and_data, seen, steps


def group_added_in_mid_training(cls, options):
    a, b, c = make_params([(3,), (4,), (5,)])
    opt = cls([a], **options)
    steps(opt)
    opt.add_param_group({"params": [b], "lr": 0.02})
    steps(opt)
    opt.param_groups.append({**opt.param_groups[1], "params": [c], "lr": 0.01})
    return steps(opt)


def group_of_another_initial_value(cls, options):
    """torch's Adagrad uses the initial value of the constructor, not that of the group."""
    a, b, c = make_params([(3,), (4,), (5,)])
    other = {"initial_accumulator_value": 0.7} if "initial_accumulator_value" in options else {}
    opt = cls([{"params": [a]}, {"params": [b], **other}], **options)
    opt.add_param_group({"params": [c], **other})
    return steps(opt)


def group_removed_in_mid_training(cls, options):
    a, b = make_params([(3,), (4,)])
    opt = cls([{"params": [a]}, {"params": [b]}], **options)
    steps(opt)
    group = opt.param_groups.pop(0)
    without = steps(opt)
    opt.param_groups.append(group)
    return without, a.detach().clone(), steps(opt)


def options_edited(cls, options):
    opt = cls(make_params(SHAPES), **options)
    results = []
    for t, key in enumerate(["lr", *sorted(options), "maximize"]):
        group = opt.param_groups[0]
        value = group[key]
        if key == "maximize":
            group[key] = not value
        elif key == "betas":
            group[key] = (value[0] / 2, value[1] / 2)
        elif isinstance(value, float) and key != "initial_accumulator_value":
            group[key] = value / 2
        results.append((key, steps(opt, 2, seed=10 * t)))
    return results


def options_as_ints_and_lists(cls, options):
    opt = cls(make_params(SHAPES), **options)
    group = opt.param_groups[0]
    if "betas" in group:
        group["betas"] = list(group["betas"])
    group["lr"] = 1
    results = [steps(opt)]
    group["lr"] = 0
    group["note"] = "the user's own"
    return results, steps(opt), group["note"]


def parameters_replaced_in_the_group(cls, options):
    a, b, c = make_params([(3,), (4,), (5,)])
    opt = cls([a, b], **options)
    steps(opt)
    opt.param_groups[0]["params"].append(c)
    first = steps(opt)
    opt.param_groups[0]["params"] = [c, a]
    second = steps(opt)
    opt.param_groups[0]["params"][0] = b
    third = steps(opt)
    del opt.param_groups[0]["params"][:]
    return first, second, third, opt.step(), len(opt.state)


def data_replaced(cls, options):
    opt = cls(make_params(SHAPES), **options)
    steps(opt)
    for i, p in enumerate(params_of(opt)):
        p.data = normal(p.shape, 50 + i)
    return steps(opt)


def data_replaced_by_a_transposed_tensor(cls, options):
    opt = cls(make_params([(3, 4)]), **options)
    steps(opt)
    (p,) = params_of(opt)
    p.data = p.data.t().contiguous().t()
    return steps(opt), p.stride()


def tensors_swapped(cls, options):
    """nn.Module.to may swap tensors; this fails if a weak reference to a parameter exists."""
    opt = cls(make_params(SHAPES), **options)
    steps(opt)
    opt.zero_grad()
    for i, p in enumerate(params_of(opt)):
        torch.utils.swap_tensors(p, Parameter(normal(p.shape, 50 + i)))
    return steps(opt)


def memory_resized_and_restored(cls, options):
    """FSDP frees the storage of a parameter between steps."""
    opt = cls(make_params(SHAPES), **options)
    steps(opt)
    for p in params_of(opt):
        value, storage = p.detach().clone(), p.untyped_storage()
        size = storage.size()
        storage.resize_(0)
        storage.resize_(size)
        p.data.copy_(value)
    return steps(opt)


def channels_last_in_mid_training(cls, options):
    model, x = model_and_data()
    opt = cls(model.parameters(), **options)
    fit(model, opt, x)
    model.to(memory_format=torch.channels_last)
    first = fit(model, opt, x)
    model.to(memory_format=torch.contiguous_format)
    return first, fit(model, opt, x)


def parameters_on_shared_memory(cls, options):
    model, x = model_and_data()
    opt = cls(model.parameters(), **options)
    fit(model, opt, x)
    model.share_memory()
    return fit(model, opt, x), [p.is_shared() for p in model.parameters()]


def state_replaced(cls, options):
    opt = cls(make_params(SHAPES), **options)
    steps(opt)
    for p in params_of(opt):
        opt.state[p] = {k: copy.deepcopy(v) for k, v in opt.state[p].items()}
    first = steps(opt)
    for p in params_of(opt):
        for key, value in opt.state[p].items():
            if key not in ("step", "mu_product"):
                opt.state[p][key] = value.clone() * 0.5
    return first, steps(opt)


def state_tensors_given_new_memory(cls, options):
    """Offloading gives the same tensors new memory."""
    opt = cls(make_params(SHAPES), **options)
    steps(opt)
    for p in params_of(opt):
        for value in opt.state[p].values():
            value.data = value.data.clone()
    return steps(opt)


def state_changed_in_place(cls, options):
    opt = cls(make_params(SHAPES), **options)
    steps(opt)
    for p in params_of(opt):
        for key, value in opt.state[p].items():
            if key == "step":
                value.fill_(7)
            elif key != "mu_product":
                value.mul_(0.5)
    return steps(opt)


def state_cleared(cls, options):
    opt = cls(make_params(SHAPES), **options)
    steps(opt)
    opt.state.clear()
    first = outcome(lambda: steps(opt))  # torch's Adagrad makes its state in __init__ alone
    opt.state = defaultdict(dict)
    second = outcome(lambda: steps(opt))
    return first, second


def entry_of_state_deleted(cls, options):
    opt = cls(make_params(SHAPES), **options)
    steps(opt)
    del opt.state[params_of(opt)[0]]
    return outcome(lambda: steps(opt))


def state_with_items_of_the_user(cls, options):
    opt = cls(make_params(SHAPES), **options)
    p, q = params_of(opt)
    steps(opt)
    opt.state["of the whole optimizer"] = 5
    opt.state[p]["note"] = 7  # torch's load_state_dict replaces a string by one with an address
    opt.state[q]["age"] = torch.ones(2)
    first = steps(opt)
    other = cls(make_params(SHAPES), **options)
    other.load_state_dict(opt.state_dict())
    return first, other.state["of the whole optimizer"], steps(other)


def loaded_before_the_first_step(cls, options):
    opt, other = (cls(make_params(SHAPES), **options) for _ in range(2))
    other.load_state_dict(opt.state_dict())
    return steps(other)


def loaded_twice(cls, options):
    """The second load restores the state of the first, on the same object."""
    opt = cls(make_params(SHAPES), **options)
    steps(opt)
    kept, params = copy.deepcopy(opt.state_dict()), [p.detach().clone() for p in params_of(opt)]
    first = steps(opt)
    for p, value in zip(params_of(opt), params, strict=True):
        p.data.copy_(value)
    opt.load_state_dict(kept)
    return first, steps(opt)


def named_parameters(cls, options):
    model, x = model_and_data()
    opt = cls(model.named_parameters(), **options)
    return (
        fit(model, opt, x),
        opt.param_groups[0]["param_names"],
        list(opt.state_dict()["param_groups"][0]),
    )


def scheduler_wraps_step(cls, options):
    opt = cls(make_params(SHAPES), **options)
    schedule = torch.optim.lr_scheduler.StepLR(opt, 1, gamma=0.5)
    first = steps(opt)
    schedule.step()
    return first, schedule.get_last_lr(), steps(copy.deepcopy(opt))


def disjoint_views_of_one_storage(cls, options):
    flat = normal((20,), 0)
    opt = cls([Parameter(flat[:12].view(3, 4)), Parameter(flat[12:17])], **options)
    steps(opt)
    return flat, seen(opt)


def interleaved_views_of_one_storage(cls, options):
    table = normal((6, 8), 0)
    opt = cls([Parameter(table[:, :4]), Parameter(table[:, 4:])], **options)
    steps(opt)
    return table, seen(opt)


SCENARIOS = [
    group_added_in_mid_training, group_of_another_initial_value, group_removed_in_mid_training,
    options_edited, options_as_ints_and_lists, parameters_replaced_in_the_group, data_replaced,
    data_replaced_by_a_transposed_tensor, tensors_swapped, memory_resized_and_restored,
    channels_last_in_mid_training, parameters_on_shared_memory, state_replaced,
    state_tensors_given_new_memory, state_changed_in_place, state_cleared, entry_of_state_deleted,
    state_with_items_of_the_user, loaded_before_the_first_step, loaded_twice, named_parameters,
    scheduler_wraps_step, disjoint_views_of_one_storage, interleaved_views_of_one_storage,
]  # fmt: skip


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_scenario(scenario, name):
    assert_same_result(scenario, name)
