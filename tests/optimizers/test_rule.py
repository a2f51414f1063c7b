"""The facts of a rule: usable without an optimizer, and absent from users' help."""

import inspect
import pydoc
import re

import numpy as np
import pytest

import fastopt
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.rule import Rule, checks_of, defaults_of, positional_arguments

CLASSES = [
    thing
    for thing in map(fastopt.__dict__.get, fastopt.__all__)
    if inspect.isclass(thing) and issubclass(thing, Rule) and thing is not Optimizer
]
DOCUMENTED = {
    *("step", "bind", "accumulate", "zero_grad", "extrapolated", "averaged", "perturbed"),
    *("looks_ahead", "has_averages"),
    *("params", "param_groups", "add_param_group", "step_count", "skipped_steps", "grad_norm"),
    *("lr", "extras", "grad_scale", "ema", "sync_master"),
    *("state_dict", "load_state_dict", "save", "load"),
}


def test_optimizer_is_exported():
    assert fastopt.Optimizer is fastopt.optimizer.Optimizer is Optimizer
    assert len(CLASSES) >= 9
    assert all(issubclass(cls, fastopt.Optimizer) for cls in CLASSES)


@pytest.mark.parametrize("cls", [*CLASSES, Optimizer], ids=lambda cls: cls.__name__)
def test_public_names_are_the_documented_ones(cls):
    assert {name for name in dir(cls) if not name.startswith("_")} == DOCUMENTED
    for name in DOCUMENTED:
        assert inspect.getdoc(getattr(cls, name))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_help_shows_no_internals(cls):
    text = pydoc.render_doc(cls, renderer=pydoc.plaintext)
    assert "step(self, grads" in text
    internals = {name for name in vars(Rule) if re.match("_[a-z]", name)}
    assert internals >= {"_kernel", "_checks", "_hyperparameters"}
    shown = set(re.findall(r"\w+", text))
    assert not shown & {*internals, "__annotations__"}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_facts_need_no_optimizer(cls):
    defaults = defaults_of(cls)
    assert defaults == cls([{"params": []}]).param_groups[0].options
    assert defaults.keys() == checks_of(cls).keys()
    kernel, states = cls._kernel(defaults)
    group = cls(np.zeros((2, 3))).param_groups[0]
    assert (kernel, states) == (group.kernel, group.state_names)
    assert cls._initial_state(defaults).keys() <= {*states}
    assert cls._by_row(defaults) is None
    assert cls._lookahead(defaults) is None
    assert cls._require(defaults) is None


def test_positional_arguments_are_those_of_torch():
    assert positional_arguments(fastopt.Adam) == [
        *("params", "lr", "betas", "eps", "weight_decay", "amsgrad")
    ]


def test_rule_without_a_kernel():
    with pytest.raises(NotImplementedError):
        Rule._kernel({})


# A class or several, and the bytes of its state, in help(fastopt).
ROWS = re.findall(r"(?m)^- (\w+(?:, \w+)*): ([^.]*)\.", fastopt.__doc__)
BYTES = {name: text for names, text in ROWS for name in re.findall(r"\w+", names)}


def test_the_table_of_rules_names_every_class():
    assert BYTES.keys() == {cls.__name__ for cls in CLASSES}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_bytes_of_state_are_those_in_the_table(cls):
    """The first number of a row is for default options, for Muon that of matrices."""
    opt = cls(np.zeros((64, 32), np.float32))
    found = sum(array.nbytes for array in opt.state[0].values() if array.ndim)
    text = BYTES[cls.__name__]
    by_axis = "a column" in text or "each axis" in text
    assert found == int(re.match(r"\d+", text)[0]) * (64 + 32 if by_axis else 64 * 32)
