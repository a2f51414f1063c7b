"""The boundary to C: check buffers, fill the structs of csrc/fastopt.h, release the GIL, call C.

`Plan.step` takes a step.  The other parts of this extension module are in fastopt/core/:

| part | what it answers |
|---|---|
| `slots.pxi` | how a parameter and its state arrays are described to C |
| `unchanged.pxi` | whether a parameter is still the array that was described |
| `overlap.pxi` | whether a gradient shares memory with the arrays that a step writes |
| `gradients.pxi` | which gradient belongs to which parameter, and how it is described to C |
| `clearing.pxi` | whether zero_grads can set the gradients to 0 |
| `float8.pxi` | how states of 8 bits are converted from and to float32 |
| `rows.pxi` | how rows of an array are copied for mini-batches |
| `bandwidth.pxi` | how fast the bytes of a step can be read and written |
| `extras.pxi` | how options are passed to C |
| `running.pxi` | which call is using the arrays of an optimizer; all others are refused |
| `uninterrupted.pxi` | which loops KeyboardInterrupt cannot stop halfway |
| `platform.pxi` | which instruction set and how many threads are used |
| `exported.pxi` | which functions of C other extension modules call |
"""

from fastopt._checks import Whole, from_environment
from fastopt._errors import FastoptError
from fastopt.arrays.accepted import as_gradient, require_followable
from fastopt.arrays.sparse import nonfinite_elements

cimport numpy as cnp
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastopt._csrc cimport *

cnp.import_array()

include "core/slots.pxi"
include "core/unchanged.pxi"
include "core/overlap.pxi"
include "core/gradients.pxi"
include "core/clearing.pxi"
include "core/float8.pxi"
include "core/rows.pxi"
include "core/bandwidth.pxi"
include "core/running.pxi"
include "core/extras.pxi"
include "core/uninterrupted.pxi"
include "core/platform.pxi"
include "core/exported.pxi"

CHUNK = FO_CHUNK
# In elements of an Adam step; chosen with bench/gaps.py.
SERIAL_BELOW = from_environment("FASTOPT_SERIAL_BELOW", Whole(0, 2**62), default=10**6)
LOCKED_BELOW = 4096  # in elements; chosen with bench/threads.py
RULES = {
    fo_rules[i].name.decode(): (
        i, fo_rules[i].n_states, tuple(fo_rules[i].hp_names.decode().split(", "))
    )
    for i in range(FO_N_RULES)
}
# The rules that need sums, over the elements of a tensor or of all tensors, before their update.
SUMS = {
    fo_rules[i].name.decode(): "all" if fo_scopes[i] == FO_OF_ALL else "tensor"
    for i in range(FO_N_RULES) if fo_scopes[i]
}
DECAYS = {
    "coupled": FO_DECAY_COUPLED,
    "lr": FO_DECAY_LR,
    "schedule_only": FO_DECAY_SCHEDULE,
    "proximal": FO_DECAY_PROXIMAL,
}
N_SAVED = FO_MAX_SAVED


ctypedef int (*step_function)(fo_plan *, fo_extras *, int) noexcept nogil


@cython.auto_pickle(False)
cdef class Counts:
    """The numbers of steps taken and skipped; an object without references to the arrays."""
    cdef public int64_t steps, skipped


cdef class Plan(Running):
    """A set of parameters with their states, described to C and divided into work for threads.

    A plan is made once for a set of parameters.  Adding parameters makes a new plan, which takes
    the description of the others from the plan `before`; that one is unchanged.

    kind: "array", "list" or "dict", the structure of the gradients.  The other lists have an entry
    for each new parameter.  params: the array; names: its name in error messages; holders, keys:
    the caller's list or dict that contains it, and its key there; states: its state arrays; extra:
    (master, ema, state for each row), each an array or None, and the arrays of a factored rule, if
    it is one; scalars: (step count, the N_SAVED numbers that the rule saves); block_scales: for
    states of 8 bits, (scale bytes, is signed) of each, else (); group_of: the number of its group;
    no_rows: why a row-sparse gradient is refused, or "".
    """
    cdef fo_plan *plan
    cdef fo_extras extras
    cdef Slot *slots
    cdef tuple layouts  # a Layouts for each call that added parameters
    cdef int64_t n_params
    cdef int n_threads
    cdef bint is_short  # a step takes less time than releasing and taking the GIL
    cdef readonly Counts counts
    cdef str kind
    cdef tuple params, names, holders, keys, bound
    cdef tuple no_rows
    cdef tuple row_numbers  # for each parameter, or None if its rule is not row-wise
    cdef Written written

    def __cinit__(self, str kind, list params, list names, list holders, list keys, list states,
                  list extra, list scalars, list block_scales, list group_of, list no_rows,
                  int n_groups, int n_threads, Plan before=None):
        cdef fo_tensor *tensors
        cdef Py_ssize_t i
        cdef int64_t size = 0
        self.counts = Counts()
        self.n_threads = n_threads
        self.kind = kind
        self.params, self.names = tuple(params), tuple(names)
        self.holders, self.keys = tuple(holders), tuple(keys)
        self.no_rows = tuple(no_rows)
        self.row_numbers = tuple([None if by_row is None else row_numbers_of(param)
                                  for param, (_, _, by_row, *_) in zip(params, extra, strict=True)])
        if before is not None:
            self.params, self.names = before.params + self.params, before.names + self.names
            self.holders, self.keys = before.holders + self.holders, before.keys + self.keys
            self.no_rows = before.no_rows + self.no_rows
            self.row_numbers = before.row_numbers + self.row_numbers
        self.n_params = len(self.params)
        self.written = Written(names, params, states, extra, scalars, block_scales,
                               None if before is None else before.written)
        self.extras.grad_norm = float("nan")
        self.layouts = () if before is None else before.layouts
        self.slots = <Slot *>calloc(self.n_params + 1, sizeof(Slot))
        tensors = <fo_tensor *>calloc(self.n_params + 1, sizeof(fo_tensor))
        try:
            if not self.slots or not tensors:
                raise MemoryError
            if before is not None:
                self.copy_slots(tensors, before)
            self.describe(tensors, states, extra, scalars, block_scales, group_of)
            self.plan = fo_plan_new(tensors, self.n_params, n_groups, SERIAL_BELOW)
        finally:
            free(tensors)
        if not self.plan:
            raise MemoryError
        for i in range(self.n_params):
            self.slots[i].tensor = fo_plan_tensors(self.plan) + i
            size += self.slots[i].tensor.size
        self.is_short = size < LOCKED_BELOW

    cdef void copy_slots(self, fo_tensor *tensors, Plan before) noexcept:
        """Copy the description of the parameters of another plan."""
        cdef Py_ssize_t i, n_params = before.n_params
        memcpy(tensors, fo_plan_tensors(before.plan), <size_t>n_params * sizeof(fo_tensor))
        memcpy(self.slots, before.slots, <size_t>n_params * sizeof(Slot))
        for i in range(n_params):
            self.slots[i].disjoint = 0  # the gradient has not been compared with the new arrays

    cdef int describe(self, fo_tensor *tensors, list states, list extra, list scalars,
                      list block_scales, list group_of) except -1:
        """Describe the new parameters, which are the last ones."""
        cdef Layouts new = Layouts(len(group_of))
        cdef Py_ssize_t k, i = self.n_params - len(group_of)
        cdef Slot *slot
        self.layouts += (new,)
        for k, group in enumerate(group_of):
            slot = self.slots + i
            slot.layout = new.layouts + k
            slot.rows = new.rows + k
            slot.factored = new.factored + k
            slot.axes = new.axes + k * FO_MAX_AXES
            slot.param = <PyObject *>self.params[i]
            slot.name = <PyObject *>self.names[i]
            slot.no_rows = <PyObject *>self.no_rows[i]
            if self.row_numbers[i] is not None:
                slot.row_numbers = <int64_t *>cnp.PyArray_DATA(<cnp.ndarray>self.row_numbers[i])
            describe_holder(slot, self.holders[i], self.keys[i])
            param = base_array(slot)
            describe_tensor(tensors + i, self.names[i], param, states[k], extra[k], scalars[k])
            describe_layout(slot, tensors[i].dtype, param, states[k], extra[k][0],
                            len(extra[k]) > 3, block_scales[k])
            describe_scales(slot, tensors + i, self.names[i], block_scales[k])
            if len(extra[k]) > 3:
                describe_factored(slot, tensors + i, param, extra[k][3:])
            tensors[i].group = group
            i += 1
        return 0

    def __dealloc__(self):
        fo_plan_free(self.plan)
        free(self.slots)

    def set_extras(self, dict values):
        """Set the options that are the same for all groups: the input fields of fo_extras."""
        cdef fo_extras *extras = &self.extras
        self.begin(SCALE)
        try:
            extras.grad_scale = values["grad_scale"]
            assign_extras(extras, values)
        finally:
            self.end()

    @property
    def ema_decay(self):
        """The decay of the averages in the next step; it may change between steps."""
        return self.extras.ema_decay

    @ema_decay.setter
    def ema_decay(self, double value):
        self.extras.ema_decay = value

    @property
    def grad_norm(self):
        """The norm of the gradients of the last step, or NaN if none was computed."""
        return self.extras.grad_norm

    def bind(self, grads):
        """Use these gradients at every later step(None)."""
        self.bind_in_order(in_order(self.kind, self.keys, grads))

    def bind_in_order(self, tuple grads):
        """Bind gradients that are already in the order of the parameters."""
        cdef Py_ssize_t i
        bound = []
        self.begin(BIND)
        try:
            for i, (name, grad) in enumerate(zip(self.names, grads, strict=True)):
                if grad is not None:
                    array = as_gradient(name, base_array(self.slots + i), grad)
                    require_followable(name, grad, array)
                    self.written.spans.require_apart(f"the gradient of {name}", array)
                    grad = array
                bound.append(grad)
            self.bound = tuple(bound)
        finally:
            self.end()

    def as_arrays(self, grads):
        """Return the gradients in the order of the parameters, each an array or None."""
        cdef Py_ssize_t i
        arrays = []
        ordered = in_order(self.kind, self.keys, grads)
        for i, (name, grad) in enumerate(zip(self.names, ordered, strict=True)):
            if grad is not None:
                grad = as_gradient(name, base_array(self.slots + i), grad)
            arrays.append(grad)
        return arrays

    def ordered(self, grads):
        """Return the gradients of a step in the order of the parameters; None: the bound ones."""
        return self.of_step(grads)

    cdef tuple of_step(self, grads):
        if grads is not None:
            return in_order(self.kind, self.keys, grads)
        if self.bound is None:
            raise FastoptError("step() without gradients needs bind(grads) first")
        return self.bound

    def set_norm(self, double value):
        """Use this norm for clipping, not that of the plan's own gradients."""
        self.extras.norm_is_given = True
        self.extras.given_norm = value

    cdef int lend(self, list lent) except -1:
        """Point states at arrays that exist for one step only; lent: see `step_in_call`."""
        for i, state, array in lent:
            self.slots[<Py_ssize_t>i].tensor.state[<int>state] = data_of(
                self.names[i], array, self.slots[<Py_ssize_t>i].tensor.size)
        return 0

    @property
    def gradients(self):
        """The bound gradients in the order of the parameters, or None."""
        return self.bound

    def norm_of(self, tuple grads):
        """Return the norm of gradients in the order of the parameters, without grad_scale.

        It is computed as `grad_norm` is; None adds nothing.  The caller has entered `during`.
        """
        cdef fo_extras extras = self.extras
        cdef int found
        point_at_gradients(self.slots, self.n_params, self.written,
                           read_gradients(self.slots, self.n_params, grads))
        extras.grad_scale = 1
        with nogil:
            found = self.run(fo_norm, &extras)
        if found == FO_NO_SCRATCH:
            raise MemoryError
        return extras.grad_norm

    cdef int run(self, step_function function, fo_extras *extras) noexcept nogil:
        """Call fo_step or fo_norm, with as much scratch memory as it needs."""
        cdef int found = function(self.plan, extras, self.n_threads)
        if found == FO_NO_SCRATCH and not fo_plan_reserve(self.plan):
            found = function(self.plan, extras, self.n_threads)
        return found

    def step(self, grads, list options, list rates):
        """Check every gradient, then update every parameter.

        grads: None for the bound gradients; options: those of assign_group for each group, or
        None if they have not changed; rates: (group, learning rate) for each group that follows a
        schedule, or None.
        """
        self.begin(STEP)
        try:
            self.take(grads, options, rates)
        finally:
            self.end()

    def step_in_call(self, grads, list options, list rates, list lent=None):
        """Do what `step` does; the caller has already entered during("step()").

        lent: states that exist for this step only: (parameter, index of the state, array).  An
        array has the strides and the dtype of the parameter's other states.
        """
        if lent is not None:
            self.lend(lent)
        self.take(grads, options, rates)

    cdef int take(self, grads, list options, list rates) except -1:
        cdef int found
        ordered = self.of_step(grads)
        arrays = read_gradients(self.slots, self.n_params, ordered)
        point_at_gradients(self.slots, self.n_params, self.written, arrays)
        if self.extras.zero_grads:
            if require_clearable(self.slots, self.n_params, ordered, arrays):
                point_at_gradients(self.slots, self.n_params, self.written, arrays)
        if options is not None:
            for i, of_group in enumerate(options):
                assign_group(fo_plan_groups(self.plan) + <int>i, of_group)
        if rates is not None:
            for i, rate in rates:
                fo_plan_groups(self.plan)[<int>i].hp[0] = rate
        self.extras.step = self.counts.steps
        if self.is_short:
            found = self.run(fo_step, &self.extras)
        else:
            with nogil:
                found = self.run(fo_step, &self.extras)
        if found == FO_TAKEN:
            self.counts.steps += 1  # in C code, so KeyboardInterrupt cannot come in between
        elif found == FO_NO_SCRATCH:
            raise MemoryError
        elif self.extras.clears_skipped:
            self.counts.skipped += 1
        else:
            divided = "" if self.extras.grad_scale == 1 else " divided by grad_scale"
            raise FastoptError(
                f"the gradient of {self.names[self.extras.nonfinite]}{divided} has a NaN or an "
                f"infinity{nonfinite_elements(ordered[self.extras.nonfinite])}; nothing was "
                "changed"
            )
        return 0
