"""The boundary between PyTorch's tensors and C: read every tensor, check it, and take a step.

`TensorPlan.step` reads parameters, gradients, states and options again at each step, because users,
schedulers and wrappers may replace them at any time.  It changes nothing until all of them have
passed their checks.  The other parts of this extension module are in fastopt/torch/plan/:

| part | what it answers |
|---|---|
| `views.pxi` | the address, shape, strides and dtype of a tensor |
| `group_options.pxi` | which options a group has, and whether they have changed |
| `slots.pxi` | how a parameter is described to C, and whether the description is still true |
| `gradients.pxi` | how a gradient is described to C |
| `written.pxi` | whether tensors share memory |
"""

from fastopt import _core
from fastopt._errors import FastoptError
from fastopt.optimizers.base.points.averages import added_by
from fastopt.optimizers.base.state.float8 import scale_of
from fastopt.torch import distributed, matrices, options, state, tensors

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free, qsort

import torch

from fastopt._csrc cimport *
from fastopt cimport _core as core

RULES, DECAYS = _core.RULES, _core.DECAYS

include "../core/extras.pxi"
include "plan/views.pxi"
include "plan/group_options.pxi"
include "plan/slots.pxi"
include "plan/gradients.pxi"
include "plan/written.pxi"

cdef int KEEP_GIL_BELOW = 4096  # elements; a shorter step takes less time than releasing the GIL
cdef object increment_version = torch._C._increment_version
cdef object get_num_threads = torch.get_num_threads


@cython.auto_pickle(False)
cdef class TensorPlan:
    """The parameters of an optimizer, described to C.

    A plan has no reference to its optimizer, which is an argument of each method.  `Door` makes a
    new plan if the optimizer's groups, or the shape, strides or dtype of a parameter, have changed.
    """
    cdef fo_plan *plan
    cdef fo_extras extras
    cdef Slot *slots
    cdef WrittenMemory written
    cdef Py_ssize_t n_params
    cdef bint is_short  # whether a step takes less time than releasing the GIL
    cdef bint is_busy
    cdef bint needs_rows  # whether all gradients must be sparse
    cdef list groups, params, group_options
    cdef dict index_of  # from the id of a parameter to its index
    cdef readonly bint has_shards
    cdef readonly int64_t n_elements

    def __cinit__(self, optimizer):
        cdef fo_tensor *described
        cdef Py_ssize_t i = 0, k
        self.groups = list(optimizer.param_groups)
        members = [list(group["params"]) for group in self.groups]
        self.params = [param for found in members for param in found]
        self.index_of = {id(param): k for k, param in enumerate(self.params)}
        self.group_options = [None] * len(self.groups)
        self.n_params = len(self.params)
        self.needs_rows = optimizer._sparse == "only"
        if len(self.index_of) < self.n_params:
            raise FastoptError(
                "a parameter occurs twice in the optimizer, so each step would update it twice"
            )
        self.slots = <Slot *>calloc(self.n_params + 1, sizeof(Slot))
        described = <fo_tensor *>calloc(self.n_params + 1, sizeof(fo_tensor))
        try:
            if not self.slots or not described:
                raise MemoryError
            for k, group in enumerate(self.groups):
                for index, param in enumerate(members[k]):
                    self.slots[i].group = k
                    self.slots[i].param = <PyObject *>param
                    describe(self.slots + i, described + i, param,
                             optimizer._has_float8(group, index))
                    described[i].group = 2 * k + (not optimizer._decays(group, index))
                    self.n_elements += described[i].size
                    self.has_shards |= self.slots[i].is_shard
                    i += 1
            self.plan = core.plan_new(described, self.n_params, 2 * len(self.groups),
                                      _core.SERIAL_BELOW)
        finally:
            free(described)
        if not self.plan:
            raise MemoryError
        for i in range(self.n_params):
            self.slots[i].tensor = core.plan_tensors(self.plan) + i
        self.is_short = self.n_elements < KEEP_GIL_BELOW
        self.written = WrittenMemory(self.n_params, options.is_factored(optimizer._rule))
        assign_extras(&self.extras, options.extras_for_c(optimizer._options))
        self.extras.grad_norm = float("nan")

    def __dealloc__(self):
        core.plan_free(self.plan)
        free(self.slots)

    @property
    def grad_norm(self):
        """The norm of all gradients in the last step, or NaN if it was not computed."""
        return self.extras.grad_norm

    def step(self, optimizer):
        """Update the parameters; return False, with nothing changed, if a new plan is needed."""
        return self.take_step(optimizer, 0, self.n_params)

    def step_one(self, optimizer, param):
        """Update one parameter as `step` does; the others are unchanged."""
        index = self.index_of.get(id(param))
        if index is None:
            return False
        return self.take_step(optimizer, index, index + 1)

    cdef bint take_step(self, optimizer, Py_ssize_t begin, Py_ssize_t end) except -1:
        cdef list keep_alive = []  # objects that must stay alive until the end of the step
        cdef list started = []  # the arguments of state.undo
        if self.is_busy:
            raise FastoptError(
                "step() was called while step() of this optimizer is running, maybe in another "
                "thread; only one thread at a time may use an optimizer"
            )
        found_inf = optimizer.__dict__.get("found_inf")  # set by torch.amp.GradScaler
        if found_inf is not None and found_inf.item():
            if self.extras.zero_grads:
                tensors.clear(self.params[begin:end])
            return True
        self.is_busy = True
        try:
            return (
                self.is_up_to_date(optimizer.param_groups)
                and self.point_at_gradients(optimizer, begin, end, keep_alive)
                and self.update(optimizer, begin, end, keep_alive, started)
            )
        finally:
            if started:  # the step was not taken
                state.undo(optimizer.state, started)
            self.forget(begin, end)
            self.is_busy = False

    cdef bint is_up_to_date(self, groups) except -1:
        """Return whether the groups and parameters of the optimizer are those of this plan."""
        cdef Py_ssize_t i = 0
        if len(groups) != len(self.groups):
            return False
        for known, group in zip(self.groups, groups):
            if group is not known:
                return False
            for param in group["params"]:
                if i >= self.n_params or <PyObject *>param != self.slots[i].param:
                    return False
                i += 1
        return i == self.n_params

    cdef bint point_at_gradients(self, optimizer, Py_ssize_t begin, Py_ssize_t end,
                                 list keep_alive) except -1:
        cdef Py_ssize_t i
        for i in range(begin, end):
            if not point_at_gradient(self.slots + i, optimizer, keep_alive):
                return False
            if self.needs_rows and self.slots[i].tensor.grad != NULL:
                tensors.require_rows(self.slots[i].tensor.rows != NULL)
        return True

    cdef bint update(self, optimizer, Py_ssize_t begin, Py_ssize_t end, list keep_alive,
                     list started) except -1:
        """Read options and states, update the parameters, and write the step counts back."""
        cdef list updated = []
        cdef Py_ssize_t i
        cdef Slot *slot
        cdef int found
        states = optimizer.state
        if not PyDict_Check(states):
            raise TypeError(f"optimizer.state is a {type(states).__name__}; a dict is needed")
        self.read_options(optimizer)
        self.extras.step = 0
        find_states(self.slots, begin, end, states, keep_alive)
        for i in range(begin, end):
            slot = self.slots + i
            if slot.tensor.grad != NULL:
                updated.append(<object>slot.param)
                point_at_states(slot, optimizer, None if slot.inner == NULL else <object>slot.inner,
                                self.group_options[slot.group], keep_alive, started)
                self.require_usable(optimizer, i, end - begin == self.n_params)
                if slot.taken > <int64_t>self.extras.step:
                    self.extras.step = slot.taken
        self.find_shared(begin, end, states, keep_alive)
        self.written.require(optimizer, self.slots, self.group_options, begin, end,
                             self.extras.zero_grads)
        self.prepare_extras(optimizer)
        if not updated:
            if self.extras.norm_is_given:
                self.extras.grad_norm = self.extras.given_norm
            return True
        n_threads = optimizer._options["n_threads"] or get_num_threads()
        self.lend_directions(optimizer, begin, end, n_threads, keep_alive)
        found = self.run(n_threads)
        if found == FO_NONFINITE:
            self.skip(optimizer, updated)
        elif found == FO_NO_SCRATCH:
            raise MemoryError
        else:
            started.clear()
            for i in range(begin, end):
                if self.slots[i].tensor.grad != NULL:
                    write_scalars(self.slots + i, self.group_options[self.slots[i].group])
                elif self.is_shared(i) and self.slots[i].tensor.saved != NULL:
                    write_saved(self.slots + i, self.group_options[self.slots[i].group])
            increment_version(updated)
            if self.extras.zero_grads:
                increment_version([param.grad for param in updated])
        return True

    cdef bint is_shared(self, Py_ssize_t i) except -1:
        """Return whether the rule of a parameter saves numbers that are the same for all."""
        cdef GroupOptions group = self.group_options[self.slots[i].group]
        return group.sums == "all" and len(group.scalars) > 0

    cdef int find_shared(self, Py_ssize_t begin, Py_ssize_t end, states,
                         list keep_alive) except -1:
        """Read the shared numbers of parameters that have no gradient."""
        cdef Py_ssize_t i
        for i in range(begin, end):
            if self.slots[i].tensor.grad == NULL and self.is_shared(i):
                point_at_shared(self.slots + i, states.get(<object>self.slots[i].param),
                                self.group_options[self.slots[i].group], keep_alive)
        return 0

    cdef int require_usable(self, optimizer, Py_ssize_t i, bint has_all) except -1:
        """Raise an error if the rule or an option cannot use a gradient.

        has_all: whether the step is of all parameters.
        """
        cdef Slot *slot = self.slots + i
        cdef GroupOptions group = self.group_options[slot.group]
        if slot.tensor.rows != NULL and (slot.tensor.ema != NULL or group.no_rows):
            reason = group.no_rows or (
                "ema_decay and lookahead_steps average all rows, so they need dense gradients"
            )
            raise FastoptError(
                f"the gradient of {tensors.name_of(optimizer, i)} is sparse; {reason}"
            )
        if slot.is_blocked and slot.tensor.rows != NULL and slot.layout.n_axes == 1:
            raise FastoptError(
                f"the gradient of {tensors.name_of(optimizer, i)} is sparse; elements of a vector "
                "share blocks of state_dtype='float8'"
            )
        if group.sums == "all" and not has_all:
            raise FastoptError(
                f"{type(optimizer).__name__} needs sums over all parameters before it updates "
                "one of them; call step() after the backward pass"
            )
        return 0

    cdef read_options(self, optimizer):
        """Pass the options of each group to C if they have changed."""
        cdef Py_ssize_t k
        cdef GroupOptions seen
        cdef int changed
        cdef double lr
        for k, group in enumerate(self.groups):
            seen = self.group_options[k]
            changed = 2 if seen is None else seen.compare(group)
            if changed == 1:
                lr = seen.take_lr(group)
                core.plan_groups(self.plan)[2 * k].hp[0] = lr
                core.plan_groups(self.plan)[2 * k + 1].hp[0] = lr
            elif changed:
                seen = self.group_options[k] = GroupOptions(optimizer, group)
                assign_group(core.plan_groups(self.plan) + 2 * k, seen.for_c)
                assign_group(core.plan_groups(self.plan) + 2 * k + 1, seen.without_decay)

    cdef int lend_directions(self, optimizer, Py_ssize_t begin, Py_ssize_t end, int n_threads,
                             list keep_alive) except -1:
        """Point states at the directions of matrices, which exist for this step only."""
        cdef list members = []
        cdef Py_ssize_t i
        cdef Slot *slot
        cdef GroupOptions group
        cdef fo_extras extras
        cdef int found
        for i in range(begin, end):
            slot = self.slots + i
            group = self.group_options[slot.group]
            if slot.tensor.grad != NULL and group.directs:
                for_c = group.without_decay if slot.tensor.group % 2 else group.for_c
                members.append(matrices.Member(i, <object>slot.param, group.read, for_c,
                                               <object>slot.inner, slot.taken))
        if not members:
            return 0
        extras = self.extras
        if extras.needs_norm:
            with nogil:
                found = core.norm(self.plan, &extras, n_threads)
                if found == FO_NO_SCRATCH and not core.plan_reserve(self.plan):
                    found = core.norm(self.plan, &extras, n_threads)
            if found == FO_NO_SCRATCH:
                raise MemoryError
        lent = matrices.directions(optimizer, members, extras.grad_norm, extras.grad_scale,
                                   n_threads)
        for i, index, array in lent:
            self.slots[i].tensor.state[<int>index] = <void *><uintptr_t>array.ctypes.data
            keep_alive.append(array)
        return 0

    cdef prepare_extras(self, optimizer):
        """Set the options that differ between steps."""
        scale = optimizer.__dict__.get("grad_scale")
        self.extras.grad_scale = 1 if scale is None else scale.item()
        if optimizer._options["ema_warmup"]:
            self.extras.ema_decay = options.ema_decay_of_step(optimizer._options,
                                                              self.extras.step + 1)
        self.extras.norm_is_given = self.has_shards and (
            self.extras.needs_norm or self.extras.needs_finite
        )
        if self.extras.norm_is_given:
            self.extras.given_norm = distributed.total_norm(self.params) / self.extras.grad_scale
            self.extras.nonfinite = -1

    cdef int run(self, int n_threads) except -1:
        cdef int found
        if self.is_short:
            found = core.step(self.plan, &self.extras, n_threads)
        else:
            with nogil:
                found = core.step(self.plan, &self.extras, n_threads)
        if found == FO_NO_SCRATCH and not core.plan_reserve(self.plan):
            with nogil:
                found = core.step(self.plan, &self.extras, n_threads)
        return found

    cdef skip(self, optimizer, list updated):
        if optimizer._options["on_nonfinite"] == "skip":
            if self.extras.zero_grads:
                increment_version([param.grad for param in updated])
            return
        which = "a gradient in another process"
        if self.extras.nonfinite >= 0:
            which = f"the gradient of {tensors.name_of(optimizer, self.extras.nonfinite)}"
        raise FastoptError(f"{which} has a NaN or an infinity; nothing was changed")

    cdef void forget(self, Py_ssize_t begin, Py_ssize_t end) noexcept:
        """Remove the pointers to gradients, which the next step sets again."""
        cdef Py_ssize_t i
        for i in range(begin, end):
            self.slots[i].tensor.grad = NULL
            self.slots[i].tensor.rows = NULL
