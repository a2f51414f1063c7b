"""Random programs of operations on an optimizer give the numbers of torch.optim.

FASTOPT_TEST_PROGRAMS=10000 runs that many programs instead of 60.
"""

import copy
import os
import pickle
import random

import numpy as np
import pytest
import torch

import fastopt.torch

N_PROGRAMS = int(os.environ.get("FASTOPT_TEST_PROGRAMS", "60"))
OPTIONS = {
    "SGD": [dict(momentum=[0.0, 0.9], dampening=[0.0, 0.3], nesterov=[False]),
            dict(momentum=[0.8], nesterov=[True])],
    "Adagrad": [dict(lr_decay=[0.0, 0.1], initial_accumulator_value=[0.0, 0.2], eps=[1e-3])],
    "Adadelta": [dict(rho=[0.7, 0.9], eps=[1e-3])],
    "RMSprop": [dict(alpha=[0.8], momentum=[0.0, 0.3], centered=[False, True], eps=[1e-2])],
    "Adam": [dict(betas=[(0.7, 0.9)], amsgrad=[False, True], eps=[1e-3])],
    "AdamW": [dict(betas=[(0.7, 0.9)], amsgrad=[False, True], eps=[1e-3])],
    "Adamax": [dict(betas=[(0.7, 0.9)], eps=[1e-3])],
    "NAdam": [dict(betas=[(0.7, 0.9)], decoupled_weight_decay=[False, True], eps=[1e-3])],
    "SparseAdam": [dict(betas=[(0.7, 0.9)], eps=[1e-3])],
}  # fmt: skip
# Items of groups that a program changes.
CHANGES = {
    "lr": [0.0, 0.01, 0.1], "weight_decay": [0.0, 0.1], "betas": [(0.5, 0.8), (0.9, 0.99)],
    "eps": [1e-3, 1e-2], "momentum": [0.0, 0.5], "dampening": [0.0, 0.2], "rho": [0.5],
    "alpha": [0.9], "maximize": [False, True], "lr_decay": [0.2], "momentum_decay": [0.01],
}  # fmt: skip
SHAPES = [(), (1,), (7,), (0, 2), (4, 5), (2, 3, 4, 2), (33, 17)]
CLOSE = {torch.float64: dict(rtol=1e-9, atol=1e-11), torch.float32: dict(rtol=3e-4, atol=3e-5),
         torch.complex128: dict(rtol=1e-9, atol=1e-11)}  # fmt: skip


class Program:
    """Two optimizers, of torch and of fastopt, on equal parameters."""

    def __init__(self, number):
        self.random = random.Random(number)
        self.generator = torch.Generator().manual_seed(number)
        self.log = []
        name = self.name = self.pick(OPTIONS)
        self.is_sparse = name == "SparseAdam" or (
            name in ("SGD", "Adagrad") and self.random.random() < 0.2
        )
        self.dtypes = self.pick([[torch.float64], [torch.float32, torch.float64]])
        if not self.is_sparse and self.random.random() < 0.2:
            self.dtypes = [torch.complex128, torch.float64]
        options = {key: self.pick(values) for key, values in self.pick(OPTIONS[name]).items()}
        self.classes = getattr(torch.optim, name), getattr(fastopt.torch, name)
        if not self.is_sparse:
            options["weight_decay"] = self.pick([0.0, 0.1])
        elif "nesterov" in options:  # torch cannot add sparse gradients to a dense buffer
            options["nesterov"] = False
        self.options = dict(options, lr=0.05)
        both = self.new_parameters(self.random.randint(1, 4))
        self.opts = [self.new(cls, ps) for cls, ps in zip(self.classes, both, strict=True)]

    def pick(self, values):
        return self.random.choice(list(values))

    def new(self, cls, params):
        foreach = {} if self.name == "SparseAdam" else {"foreach": False}
        return cls(params, **self.options, **(foreach if cls is self.classes[0] else {}))

    def new_parameters(self, n):
        found = [self.laid_out(self.randn(self.shape(), self.pick(self.dtypes))) for _ in range(n)]
        return [[self.copied(p).requires_grad_() for p in found] for _ in range(2)]

    def shape(self):
        return self.pick([(5, 3), (9, 2)]) if self.is_sparse else self.pick(SHAPES)

    def randn(self, shape, dtype):
        return torch.randn(shape, dtype=dtype, generator=self.generator)

    def laid_out(self, tensor):
        """Return the same numbers with other strides."""
        how = self.random.random()
        if how < 0.3 and tensor.dim() > 1:
            axes = self.random.sample(range(tensor.dim()), tensor.dim())
            places = [axes.index(axis) for axis in range(tensor.dim())]
            return tensor.permute(axes).contiguous().permute(places)
        if how < 0.5 and tensor.dim():
            return torch.stack([tensor, tensor], -1)[..., self.random.randint(0, 1)]
        return tensor

    @staticmethod
    def copied(tensor):
        return tensor.detach().as_strided(tensor.shape, tensor.stride()).clone(
            memory_format=torch.preserve_format
        ) if tensor.layout == torch.strided else tensor.clone()  # fmt: skip

    def pairs(self):
        return [
            pair
            for groups in zip(*(opt.param_groups for opt in self.opts), strict=True)
            for pair in zip(*(group["params"] for group in groups), strict=True)
        ]

    # Operations

    def step(self):
        for p, q in self.pairs():
            if self.random.random() < 0.2:
                p.grad = q.grad = None
                continue
            grad = self.gradient(p)
            for w in (p, q):
                w.grad = None
                w.grad = grad.detach()
        before = [self.copied(p.grad) for p, _ in self.pairs() if p.grad is not None]
        use_closure = self.random.random() < 0.2
        for opt in self.opts:
            assert opt.step((lambda: 3.0) if use_closure else None) == (
                3.0 if use_closure else None
            )
        after = [p.grad for p, _ in self.pairs() if p.grad is not None]
        for old, new in zip(before, after, strict=True):
            assert torch.equal(old.to_dense(), new.to_dense())

    def gradient(self, p):
        grad = self.randn(p.shape, p.dtype)
        if self.is_sparse:
            is_mixed = self.name != "SparseAdam" and not self.options.get("momentum")
            if is_mixed and self.random.random() < 0.3:
                return grad
            n = self.random.randint(0, 6)
            rows = torch.randint(p.shape[0], (1, n), generator=self.generator)
            values = self.randn((n, *p.shape[1:]), p.dtype)
            return torch.sparse_coo_tensor(rows, values, p.shape, check_invariants=True)
        if p.dim() and p.numel() and self.random.random() < 0.1:
            return grad[:1].expand(p.shape)
        return self.laid_out(grad)

    def change_option(self):
        k = self.random.randrange(len(self.opts[0].param_groups))
        group = self.opts[0].param_groups[k]
        names = [name for name in CHANGES if name in group]
        if self.is_sparse:
            names = [name for name in names if name not in ("weight_decay", "momentum")]
        if self.name == "SGD" and group["nesterov"]:
            names = [name for name in names if name not in ("momentum", "dampening")]
        if self.name == "RMSprop":  # torch has no state for a momentum that comes later
            names.remove("momentum")
        name = self.pick(names)
        value = self.pick(CHANGES[name])
        if name == "lr":
            wrap = [float, np.float64]
            if self.name in ("SGD", "Adam", "AdamW"):
                wrap.append(lambda number: torch.tensor(number, dtype=torch.float64))
            value = self.pick(wrap)(value)
        if name == "betas":
            value = self.pick([tuple, list])(value)
        for opt in self.opts:
            opt.param_groups[k][name] = value

    def add_group(self):
        for opt, params in zip(self.opts, self.new_parameters(2), strict=True):
            opt.add_param_group({"params": params, "lr": 0.02})
            if self.name == "Adagrad":  # torch makes this state in __init__ alone
                start = opt.param_groups[-1]["initial_accumulator_value"]
                for p in params:
                    opt.state[p] = {
                        "step": torch.tensor(0.0),
                        "sum": torch.full_like(
                            p.detach(), complex(start, start) if p.is_complex() else start
                        ),
                    }

    def remove_parameter(self):
        k = self.random.randrange(len(self.opts[0].param_groups))
        if len(self.opts[0].param_groups[k]["params"]) > 1:
            for opt in self.opts:
                first, *others = opt.param_groups[k]["params"]
                opt.param_groups[k]["params"] = others
                opt.state.pop(first, None)

    def reverse(self):
        for opt in self.opts:
            for group in opt.param_groups:
                group["params"].reverse()

    def new_layout(self):
        p, q = self.pick(self.pairs())
        value = self.laid_out(p.detach().clone())
        for w in (p, q):
            w.grad = None
        p.data, q.data = value, self.copied(value)

    def forget_state(self):
        if self.name != "Adagrad":  # torch makes this state in __init__ alone
            for opt, p in zip(self.opts, self.pick(self.pairs()), strict=True):
                opt.state.pop(p, None)

    def copy_optimizers(self):
        how = self.pick([copy.deepcopy, lambda opt: pickle.loads(pickle.dumps(opt))])
        self.opts = [how(opt) for opt in self.opts]

    def save_and_load(self):
        saved = [copy.deepcopy(opt.state_dict()) for opt in self.opts]
        if self.random.random() < 0.5:
            saved.reverse()  # each loads what the other has saved
        for k, opt in enumerate(self.opts):
            groups = [{"params": list(group["params"])} for group in opt.param_groups]
            self.opts[k] = self.new(self.classes[k], groups)
            self.opts[k].load_state_dict(saved[k])
            for group in self.opts[k].param_groups:
                if "foreach" in group:
                    group["foreach"] = False

    def fill(self):
        for p, q in self.pairs():
            with torch.no_grad():
                q.copy_(p)

    def zero_grad(self):
        to_none = self.random.random() < 0.5
        for opt in self.opts:
            opt.zero_grad(set_to_none=to_none)

    def run(self, n_steps=25):
        others = [self.change_option, self.change_option, self.add_group, self.remove_parameter,
                  self.reverse, self.new_layout, self.forget_state, self.copy_optimizers,
                  self.save_and_load, self.fill, self.zero_grad]  # fmt: skip
        for _ in range(n_steps):
            operation = self.step if self.random.random() < 0.6 else self.pick(others)
            self.log.append(operation.__name__)
            operation()
            self.compare()

    def compare(self):
        one, other = self.opts
        for p, q in self.pairs():
            close = dict(CLOSE[p.dtype])
            if self.name == "NAdam":
                close["rtol"] = max(close["rtol"], 1e-5)
                close["atol"] = max(close["atol"], 1e-6)
            torch.testing.assert_close(q, p, **close)
            expected, found = one.state.get(p), other.state.get(q)
            assert (expected or {}).keys() == (found or {}).keys()
            for key, value in (expected or {}).items():
                if isinstance(value, torch.Tensor):
                    # torch keeps sparse buffers, and converts some scalars when it loads them.
                    torch.testing.assert_close(
                        found[key].to_dense(),
                        value.to_dense(),
                        **close,
                        check_dtype=value.dim() > 0,
                    )
                else:
                    assert found[key] == value


@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled")
@pytest.mark.parametrize("number", range(N_PROGRAMS))
def test_a_random_program(number):
    program = Program(number)
    try:
        program.run()
    except Exception as error:
        error.add_note(f"{program.name}, {program.options}: {', '.join(program.log)}")
        raise


# Options of fastopt alone: the layout of tensors changes no bits.

EXTRAS = {
    "ema_decay": [None, 0.9], "lookahead_steps": [None, 2], "max_grad_value": [None, 0.5],
    "zero_grads": [False, True],
    "state_dtype": [None, "param", "bfloat16"], "master": [None, "float32"],
    "rounding": ["nearest", "stochastic"], "n_threads": [1, 2],
    "on_nonfinite": ["propagate", "skip"],
}  # fmt: skip


class Layouts(Program):
    """Two optimizers of fastopt; the tensors of the second are not contiguous."""

    def run(self):
        self.is_sparse = False
        name = self.pick([name for name in OPTIONS if name != "SparseAdam"])
        options = {key: self.pick(values) for key, values in self.pick(OPTIONS[name]).items()}
        options |= {key: self.pick(values) for key, values in EXTRAS.items()}
        if options["lookahead_steps"]:
            options["ema_decay"] = None
        self.log = [name, options]
        low = [torch.float16, torch.bfloat16, torch.float32]
        one = [self.randn(self.shape(), torch.float64).to(self.pick(low)) for _ in range(4)]
        other = [self.laid_out(p.clone()) for p in one]
        one, other = [[p.requires_grad_() for p in params] for params in (one, other)]
        opts = [getattr(fastopt.torch, name)(params, lr=0.05, **options) for params in (one, other)]
        for t in range(8):
            is_bad = self.random.random() < 0.1
            for p, q in zip(one, other, strict=True):
                grad = self.randn(p.shape, torch.float64).to(p.dtype)
                grad.view(-1)[:is_bad] = torch.inf
                is_missing = self.random.random() < 0.2
                p.grad = None if is_missing else grad
                q.grad = None if is_missing else self.laid_out(grad.clone())
            if t == 4 and name != "NAdam":  # whose product is saved in float32
                self.new_strides(self.pick(other))
                if self.random.random() < 0.5:
                    opts[1] = copy.deepcopy(opts[1])
                    grads = [q.grad for q in other]
                    other = opts[1].param_groups[0]["params"]
                    for q, grad in zip(other, grads, strict=True):
                        q.grad = grad
            for opt in opts:
                opt.step()
            for p, q in zip(one, other, strict=True):
                torch.testing.assert_close(q, p, rtol=0, atol=0, equal_nan=True)
                for key, value in opts[0].state.get(p, {}).items():
                    found = opts[1].state[q][key]
                    torch.testing.assert_close(found, value, rtol=0, atol=0, equal_nan=True)
                if options["zero_grads"]:
                    assert q.grad is None or not q.grad.any()

    def new_strides(self, p):
        if p.grad is None:
            p.data = self.laid_out(p.detach().contiguous())


@pytest.mark.parametrize("number", range(N_PROGRAMS))
def test_layouts_change_no_bits(number):
    program = Layouts(number)
    try:
        program.run()
    except Exception as error:
        error.add_note(str(program.log))
        raise
