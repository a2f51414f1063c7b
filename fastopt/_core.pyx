"""The boundary: checks buffers, fills the structs of csrc/fastopt.h, drops the lock, calls C."""

import os

from fastopt.arrays.accepted import as_gradient, require_followable, require_parameter
from fastopt.arrays.layout import memory_order
from fastopt.arrays.overlap import Spans, may_overlap_itself
from fastopt._checks import Whole, from_environment
from fastopt._cpus import cpu_quota
from fastopt._errors import FastoptError
from fastopt.arrays.sparse import RowSparse, as_rows, require_within

import numpy as np

cimport numpy as cnp
from cpython.object cimport PyObject_GenericSetAttr
from cpython.ref cimport PyObject
from libc.limits cimport INT_MAX
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free

from fastopt._csrc cimport *
from fastopt cimport _numpy as np_c
from fastopt._numpy cimport PyArrayObject

cnp.import_array()

CHUNK = FO_CHUNK
# Elements; chosen with bench/gaps.py.
SERIAL_BELOW = from_environment("FASTOPT_SERIAL_BELOW", Whole(0, 2**62), default=2**20)
LOCKED_BELOW = 4096  # elements; chosen with bench/threads.py
RULES = {
    fo_rules[i].name.decode(): (
        i, fo_rules[i].n_states, tuple(fo_rules[i].hp_names.decode().split(", "))
    )
    for i in range(FO_N_RULES)
}
DECAYS = {"coupled": FO_DECAY_COUPLED, "lr": FO_DECAY_LR, "schedule_only": FO_DECAY_SCHEDULE}


MEND = "update it in place (w[...] = new) or make a new optimizer"


cdef struct Slot:  # what a step looks at for one parameter; the plan's tuples own the objects
    PyObject *param
    PyObject *holder  # the caller's list or dict, or NULL
    PyObject *key
    Py_ssize_t place  # in a list; -1 in a dict
    int numpy_type
    bint is_plain  # contiguous in C's order, as are its states, and of the dtype computed in
    bint is_dense  # the same in some order of the axes
    uintptr_t disjoint  # where a dense gradient lay that was found to overlap nothing
    # Where a gradient lay that was found to share nothing with the others; all are of one step.
    uintptr_t cleared
    int cleared_type
    Py_ssize_t cleared_strides[FO_MAX_AXES]


cdef struct Axes:
    int of[FO_MAX_AXES]  # an array's axes in the order of work


cdef int code_of(int numpy_type):
    """fo_dtype of NumPy's number of a dtype, or -1."""
    if numpy_type == cnp.NPY_FLOAT:
        return FO_F32
    if numpy_type == cnp.NPY_DOUBLE:
        return FO_F64
    if numpy_type == np_c.NPY_HALF:
        return FO_F16
    return FO_BF16 if numpy_type == bfloat16_type else -1


cdef int bfloat16_type = -1  # NumPy numbers it when ml_dtypes is imported


cdef notice_dtype(dtype):
    global bfloat16_type
    if dtype.name == "bfloat16":
        bfloat16_type = dtype.num


cdef class Plan:
    """Parameters with their states, cut into work, and the gradients of the step to come.

    One for the life of a set of parameters; a new one when a parameter is added.
    """
    cdef fo_plan *plan
    cdef fo_tensor *tensors
    cdef fo_layout *layouts
    cdef fo_rows *rows
    cdef Axes *axes
    cdef fo_extras extras
    cdef int64_t n, n_spans
    cdef int n_threads
    cdef bint busy
    cdef bint is_short  # a step takes less time than handing the lock to another thread
    cdef public int64_t step_count  # here, so that an interrupt can not come between step and count
    cdef public int64_t skipped_steps
    cdef str kind
    cdef tuple params, names, holders, keys, bound
    cdef dict every_row
    cdef object arrays
    cdef object spans
    cdef cnp.ndarray starts, ends  # of the spans
    cdef Slot *slots

    def __cinit__(self, str kind, list params, list names, list holders, list keys, list states,
                  list extra, list scalars, list group_of, int n_groups, int n_threads):
        cdef Py_ssize_t i, k
        cdef cnp.ndarray array, step, saved
        cdef fo_tensor *described
        self.n = len(params)
        self.n_threads = n_threads
        self.kind = kind
        self.params, self.names = tuple(params), tuple(names)
        self.holders, self.keys = tuple(holders), tuple(keys)
        self.arrays = (states, extra, scalars)
        self.every_row = {}
        named = list(zip(names, params, strict=True))
        for name, *arrays in zip(names, states, extra, scalars, strict=True):
            named += [
                (f"the state of {name}", array)
                for several in arrays for array in several if array is not None
            ]
        self.spans = Spans(named)
        self.starts, self.ends = self.spans.starts, self.spans.ends
        self.n_spans = len(self.starts)
        self.extras.grad_norm = float("nan")

        described = <fo_tensor *>calloc(self.n + 1, sizeof(fo_tensor))
        self.slots = <Slot *>calloc(self.n + 1, sizeof(Slot))
        self.layouts = <fo_layout *>calloc(self.n + 1, sizeof(fo_layout))
        self.rows = <fo_rows *>calloc(self.n + 1, sizeof(fo_rows))
        self.axes = <Axes *>calloc(self.n + 1, sizeof(Axes))
        if not described or not self.slots or not self.layouts or not self.rows or not self.axes:
            free(described)
            raise MemoryError
        for i in range(self.n):
            array = params[i]
            notice_dtype(array.dtype)
            described[i].dtype = FO_F64 if cnp.PyArray_TYPE(array) == cnp.NPY_DOUBLE else FO_F32
            described[i].group = group_of[i]
            described[i].size = cnp.PyArray_SIZE(array)
            described[i].param = cnp.PyArray_DATA(array)
            step, saved = scalars[i]
            described[i].step = <int64_t *>cnp.PyArray_DATA(step)
            described[i].saved = <double *>cnp.PyArray_DATA(saved)
            for k, array in enumerate(states[i]):
                described[i].state[k] = cnp.PyArray_DATA(array)
            master, ema, by_row = extra[i]
            if by_row is not None:
                described[i].row_state = cnp.PyArray_DATA(<cnp.ndarray>by_row)
                self.every_row[i] = np.arange(params[i].shape[0] + 1, dtype=np.int64)
            if master is not None:
                described[i].master = cnp.PyArray_DATA(<cnp.ndarray>master)
            if ema is not None:
                described[i].ema = cnp.PyArray_DATA(<cnp.ndarray>ema)
            self.describe_layout(i, described[i].dtype, params[i], states[i], master)
            self.slots[i].param = <PyObject *>self.params[i]
            self.slots[i].numpy_type = cnp.PyArray_TYPE(<cnp.ndarray>params[i])
            if self.holders[i] is not None:
                self.slots[i].holder = <PyObject *>self.holders[i]
                self.slots[i].key = <PyObject *>self.keys[i]
                self.slots[i].place = keys[i] if isinstance(holders[i], list) else -1
        self.is_short = sum(param.size for param in params) < LOCKED_BELOW
        self.plan = fo_plan_new(described, self.n, n_groups, SERIAL_BELOW)
        free(described)
        if not self.plan:
            raise MemoryError
        self.tensors = fo_plan_tensors(self.plan)

    cdef describe_layout(self, Py_ssize_t i, fo_dtype real, cnp.ndarray param, tuple states,
                         master):
        """How parameter i and what belongs to it lie, in the order of work."""
        cdef fo_layout *layout = self.layouts + i
        cdef int64_t own = 1, index = 1, k, axis
        order = memory_order(param)
        layout.n_axes = param.ndim
        layout.param_dtype = <fo_dtype>code_of(cnp.PyArray_TYPE(param))
        layout.state_dtype = real
        for array in states:
            notice_dtype(array.dtype)
            layout.state_dtype = <fo_dtype>code_of(cnp.PyArray_TYPE(<cnp.ndarray>array))
        dense = layout.param_dtype == real and layout.state_dtype == real and master is None
        for k in reversed(range(param.ndim)):
            axis = order[k]
            self.axes[i].of[k] = axis
            layout.shape[k] = param.shape[axis]
            layout.param[k] = param.strides[axis]
            layout.own[k] = own
            if param.shape[axis] > 1 and layout.param[k] != own * param.itemsize:
                dense = False
            own *= layout.shape[k]
            if axis == 0:
                layout.row_axis = k
        for axis in reversed(range(param.ndim)):
            layout.index[<int64_t>order.index(axis)] = index
            index *= param.shape[axis]
        if i in self.every_row:
            dense = False  # it is updated row by row, which takes a layout
        self.slots[i].is_dense = dense
        self.slots[i].is_plain = dense and param.flags.c_contiguous

    def __dealloc__(self):
        fo_plan_free(self.plan)
        free(self.slots)
        free(self.layouts)
        free(self.rows)
        free(self.axes)

    cdef set_group(self, int i, str rule, tuple hp, double weight_decay, str decay,
                   double base_lr, bint maximize):
        """Describe group i: hp in the order of RULES[rule], the learning rate first."""
        cdef fo_group *group = fo_plan_groups(self.plan) + i
        cdef Py_ssize_t k
        group.rule = RULES[rule][0]
        group.decay = DECAYS[decay]
        group.maximize = maximize
        group.weight_decay = weight_decay
        group.base_lr = base_lr
        for k in range(len(hp)):
            group.hp[k] = hp[k]

    def set_extras(self, dict values):
        """What every step does besides the rule: the fields of fo_extras that are not results."""
        cdef fo_extras *extras = &self.extras
        self.require_idle()
        extras.grad_scale = values["grad_scale"]
        extras.max_grad_norm = values["max_grad_norm"]
        extras.max_grad_value = values["max_grad_value"]
        extras.needs_norm = values["needs_norm"]
        extras.needs_finite = values["needs_finite"]
        extras.clears_skipped = values["clears_skipped"]
        extras.zero_grads = values["zero_grads"]
        extras.stochastic = values["stochastic"]
        extras.ema_decay = values["ema_decay"]
        extras.seed = values["seed"]

    @property
    def grad_norm(self):
        """The norm of the last step's gradients, where one was taken."""
        return self.extras.grad_norm

    def require_idle(self):
        """Raise if a step is running: in another thread, or around this call."""
        if self.busy:
            raise FastoptError("a step() of this optimizer is running, maybe in another thread")

    def bind(self, grads):
        """Keep these gradients for every step(None) to come."""
        self.bind_in_order(self.in_order(grads))

    def bind_in_order(self, tuple grads):
        """bind() for gradients that are in the order of the parameters already."""
        bound = []
        self.require_idle()
        for name, param, grad in zip(self.names, self.params, grads, strict=True):
            if grad is not None:
                array = as_gradient(name, param, grad)
                require_followable(name, grad, array)
                self.spans.require_apart(f"the gradient of {name}", array)
                grad = array
            bound.append(grad)
        self.bound = tuple(bound)

    def as_arrays(self, grads):
        """The gradients in the order of the parameters, as arrays that fit them, or None."""
        arrays = []
        self.require_idle()
        for name, param, grad in zip(self.names, self.params, self.in_order(grads), strict=True):
            arrays.append(None if grad is None else as_gradient(name, param, grad))
        return arrays

    @property
    def gradients(self):
        """The bound gradients, in the order of the parameters, or None."""
        return self.bound

    def step(self, grads, list options, list rates):
        """Check every gradient, then update every parameter; None stands for the bound ones.

        options: the arguments of set_group for each group, or None where they are as they were;
        rates: (group, learning rate) for each group that follows a schedule, or None.
        """
        cdef int refused
        self.require_idle()
        self.busy = True
        try:
            if grads is not None:
                ordered = self.in_order(grads)
            elif self.bound is not None:
                ordered = self.bound
            else:
                raise FastoptError("step() without gradients needs bind(grads) first")
            alive = self.point_at(ordered)
            if self.extras.zero_grads:
                self.require_clearable(ordered, alive)
            if options is not None:
                for i, (rule, hp, weight_decay, decay, base_lr, maximize) in enumerate(options):
                    self.set_group(i, rule, hp, weight_decay, decay, base_lr, maximize)
            if rates is not None:
                for i, rate in rates:
                    fo_plan_groups(self.plan)[<int>i].hp[0] = rate
            self.extras.step = self.step_count
            if self.is_short:
                refused = fo_step(self.plan, &self.extras, self.n_threads)
            else:
                with nogil:
                    refused = fo_step(self.plan, &self.extras, self.n_threads)
            if not refused:
                self.step_count += 1
            elif self.extras.clears_skipped:
                self.skipped_steps += 1
            else:
                raise FastoptError(
                    f"the gradient of {self.names[self.extras.nonfinite]} has a NaN or an "
                    "infinity; nothing was done"
                )
        finally:
            self.busy = False

    cdef tuple in_order(self, grads):
        """The gradients in the order of the parameters."""
        cdef PyObject *grad
        if self.kind == "array":
            return (grads,)
        if self.kind == "dict":
            if not isinstance(grads, dict):
                raise TypeError(f"gradients are a {type(grads).__name__}; a dict is needed")
            if len(grads) == self.n:
                found = []
                for key in self.keys:  # not by grads[key]: a defaultdict has one for any key
                    grad = np_c.PyDict_GetItemWithError(<PyObject *>grads, <PyObject *>key)
                    if grad == NULL:
                        break
                    found.append(<object>grad)
                else:
                    return tuple(found)
            raise FastoptError(
                f"gradients have keys {list(grads)}; {list(self.keys)} are needed"
            )
        if not isinstance(grads, (list, tuple)):
            raise TypeError(f"gradients are a {type(grads).__name__}; a list or tuple is needed")
        if len(grads) != self.n:
            raise FastoptError(f"{len(grads)} gradients for {self.n} parameters")
        return tuple(grads)

    cdef list point_at(self, tuple grads):
        """Point every tensor at its gradient; returns what must live as long as the step."""
        cdef Py_ssize_t i
        cdef PyObject *grad
        cdef PyArrayObject *param
        cdef list alive = []
        for i in range(self.n):
            self.require_unchanged(i)
            param = <PyArrayObject *>self.slots[i].param
            grad = np_c.PyTuple_GetItem(grads, i)
            self.tensors[i].rows = NULL
            if grad == <PyObject *>None:
                self.tensors[i].grad = NULL
            elif (
                self.slots[i].is_plain
                and np_c.PyArray_CheckExact(grad)
                and np_c.PyArray_TYPE(<PyArrayObject *>grad) == np_c.PyArray_TYPE(param)
                and np_c.PyArray_ISCARRAY_RO(<PyArrayObject *>grad)
                and np_c.PyArray_SAMESHAPE(<PyArrayObject *>grad, param)
            ):
                self.require_disjoint(i, grad)
                self.tensors[i].layout = NULL
                self.tensors[i].grad = np_c.PyArray_DATA(<PyArrayObject *>grad)
            elif (
                np_c.PyArray_CheckExact(grad)
                and np_c.PyArray_ISNOTSWAPPED(<PyArrayObject *>grad)
                and code_of(np_c.PyArray_TYPE(<PyArrayObject *>grad)) >= 0
                and np_c.PyArray_SAMESHAPE(<PyArrayObject *>grad, param)
            ):
                self.point_at_any(i, grad)
            elif isinstance(<object>grad, RowSparse) or hasattr(<object>grad, "tocsr"):
                alive.append(self.point_at_rows(i, <object>grad))
            else:
                array = as_gradient(self.names[i], self.params[i], <object>grad)
                notice_dtype(array.dtype)
                alive.append(array)
                self.point_at_any(i, <PyObject *>array)
        return alive

    cdef int point_at_any(self, Py_ssize_t i, PyObject *grad) except -1:
        """A gradient of any layout and dtype."""
        cdef PyArrayObject *array = <PyArrayObject *>grad
        cdef fo_layout *layout = self.layouts + i
        cdef Py_ssize_t *strides = np_c.PyArray_STRIDES(array)
        cdef uintptr_t begin = <uintptr_t>np_c.PyArray_DATA(array), end
        cdef int64_t reach, k
        cdef bint alike = (
            self.slots[i].is_dense and np_c.PyArray_ISALIGNED(array)
            and np_c.PyArray_TYPE(array) == self.slots[i].numpy_type
        )
        self.require_layout(i)
        self.tensors[i].grad = np_c.PyArray_DATA(array)
        layout.grad_dtype = <fo_dtype>code_of(np_c.PyArray_TYPE(array))
        end = begin + np_c.PyArray_ITEMSIZE(array)
        for k in range(layout.n_axes):
            layout.grad[k] = strides[self.axes[i].of[k]]
            alike = alike and (layout.grad[k] == layout.param[k] or layout.shape[k] == 1)
            reach = layout.grad[k] * (layout.shape[k] - 1)
            if reach < 0:
                begin += <uintptr_t>reach
            else:
                end += <uintptr_t>reach
        if self.tensors[i].size:
            self.require_apart(i, begin, end, <object>grad)
        self.tensors[i].layout = NULL if alike else layout
        if self.tensors[i].row_state != NULL:
            self.point_at_every_row(i)
        return 0

    cdef point_at_every_row(self, Py_ssize_t i):
        """A dense gradient as one of rows 0, 1, ...: what describes them is the same thrice."""
        cdef int64_t *number = <int64_t *>cnp.PyArray_DATA(<cnp.ndarray>self.every_row[i])
        cdef fo_rows *rows = self.rows + i
        rows.n = cnp.PyArray_SIZE(<cnp.ndarray>self.every_row[i]) - 1
        rows.row, rows.start, rows.order = number, number, number
        rows.clears = True
        self.tensors[i].rows = rows

    cdef object point_at_rows(self, Py_ssize_t i, grad):
        """A gradient of some rows; returns the arrays that describe it."""
        cdef fo_layout *layout = self.layouts + i
        cdef cnp.ndarray indices, values
        cdef uintptr_t begin
        cdef int64_t k, bad, n
        param, name = self.params[i], self.names[i]
        self.require_layout(i)
        if self.tensors[i].ema:
            raise FastoptError(
                f"the gradient of {name} is of some rows; ema_decay averages all rows at each step"
            )
        indices, values = as_rows(name, param, grad)
        notice_dtype(values.dtype)
        begin = <uintptr_t>cnp.PyArray_DATA(values)
        self.require_apart(i, begin, begin + cnp.PyArray_NBYTES(values), values)
        n = cnp.PyArray_SIZE(indices)
        work = np.empty(fo_rows_work(n), dtype=np.int64)
        bad = fo_rows_group(<int64_t *>cnp.PyArray_DATA(indices), n, param.shape[0],
                            <int64_t *>cnp.PyArray_DATA(<cnp.ndarray>work), self.rows + i)
        if bad >= 0:
            require_within(name, param, indices)
        layout.grad_dtype = <fo_dtype>code_of(cnp.PyArray_TYPE(values))
        for k in range(layout.n_axes):
            layout.grad[k] = values.strides[self.axes[i].of[k]]
        self.tensors[i].grad = cnp.PyArray_DATA(values)
        self.tensors[i].layout = layout
        self.tensors[i].rows = self.rows + i
        return name, values, indices, work

    cdef int require_clearable(self, tuple grads, list alive) except -1:
        """Dense gradients, which are to be cleared, can be, and none is another's nor its rows."""
        if self.lie_as_cleared(grads):
            return 0
        arrays = []
        for name, param, grad in zip(self.names, self.params, grads, strict=True):
            if grad is None or isinstance(grad, RowSparse) or hasattr(grad, "tocsr"):
                continue
            array = as_gradient(name, param, grad)
            require_followable(name, grad, array)
            if not array.flags.writeable:
                raise FastoptError(f"the gradient of {name} is read-only; zero_grads clears it")
            if may_overlap_itself(array):
                raise FastoptError(
                    f"elements of the gradient of {name} share memory, or may; zero_grads clears "
                    "it while others are read"
                )
            arrays.append((f"the gradient of {name}", array))
        cleared = Spans(arrays)
        for entry in alive:
            if isinstance(entry, tuple):  # rows, which are not cleared themselves
                cleared.require_apart(f"the gradient of {entry[0]}", entry[1])
        self.note_cleared(grads)
        return 0

    cdef bint lie_as_cleared(self, tuple grads) noexcept:
        """Whether what is to be cleared is writeable and lies where it was found to be apart.

        Of rows, which lie anywhere and are not cleared, nothing is known.
        """
        cdef Py_ssize_t i
        cdef int k
        cdef PyObject *grad
        cdef PyArrayObject *array
        cdef fo_rows *rows
        for i in range(self.n):
            rows = self.tensors[i].rows
            if self.tensors[i].grad == NULL:
                continue
            if rows != NULL and not rows.clears:
                return False
            grad = np_c.PyTuple_GetItem(grads, i)
            array = <PyArrayObject *>grad
            if (
                not np_c.PyArray_CheckExact(grad)
                or not np_c.PyArray_ISWRITEABLE(array)
                or np_c.PyArray_NDIM(array) != self.layouts[i].n_axes
                or <uintptr_t>np_c.PyArray_DATA(array) != self.slots[i].cleared
                or np_c.PyArray_TYPE(array) != self.slots[i].cleared_type
            ):
                return False
            for k in range(self.layouts[i].n_axes):
                if np_c.PyArray_STRIDES(array)[k] != self.slots[i].cleared_strides[k]:
                    return False
        return True

    cdef int note_cleared(self, tuple grads) except -1:
        cdef Py_ssize_t i
        cdef int k
        cdef PyObject *grad
        cdef PyArrayObject *array
        for i in range(self.n):
            grad = np_c.PyTuple_GetItem(grads, i)
            self.slots[i].cleared = 0
            array = <PyArrayObject *>grad
            if (
                np_c.PyArray_CheckExact(grad)
                and np_c.PyArray_NDIM(array) == self.layouts[i].n_axes
            ):
                self.slots[i].cleared = <uintptr_t>np_c.PyArray_DATA(array)
                self.slots[i].cleared_type = np_c.PyArray_TYPE(array)
                for k in range(self.layouts[i].n_axes):
                    self.slots[i].cleared_strides[k] = np_c.PyArray_STRIDES(array)[k]
        return 0

    cdef int require_unchanged(self, Py_ssize_t i) except -1:
        """The parameter is where it was, and is still what its list or dict holds."""
        cdef Slot *slot = self.slots + i
        cdef PyArrayObject *param = <PyArrayObject *>slot.param
        cdef PyObject *held = slot.param
        if slot.holder != NULL:
            if slot.place < 0:
                held = np_c.PyDict_GetItemWithError(slot.holder, slot.key)
            else:
                held = np_c.PyList_GetItem(slot.holder, slot.place)
                if held == NULL:
                    np_c.PyErr_Clear()  # a shorter list: the same error as another array
        if held != slot.param:
            raise FastoptError(
                f"{self.names[i]} is no longer the array that the optimizer was given; {MEND}"
            )
        if (np_c.PyArray_DATA(param) != self.tensors[i].param
                or np_c.PyArray_SIZE(param) != self.tensors[i].size
                or np_c.PyArray_TYPE(param) != self.slots[i].numpy_type):
            raise FastoptError(f"{self.names[i]} was resized or given another dtype; {MEND}")
        if self.slots[i].is_plain:
            if not np_c.PyArray_ISCARRAY(param):
                require_parameter(self.names[i], self.params[i])
                self.require_layout(i)
            return 0
        self.require_layout(i)
        if not np_c.PyArray_ISWRITEABLE(param):
            require_parameter(self.names[i], self.params[i])
        return 0

    cdef int require_layout(self, Py_ssize_t i) except -1:
        """The parameter lies as it did; one without gaps may have another shape otherwise."""
        cdef PyArrayObject *param = <PyArrayObject *>self.slots[i].param
        cdef int k, axis
        if np_c.PyArray_NDIM(param) != self.layouts[i].n_axes:
            raise FastoptError(f"{self.names[i]} was given another shape; {MEND}")
        for k in range(self.layouts[i].n_axes):
            axis = self.axes[i].of[k]
            if (np_c.PyArray_STRIDES(param)[axis] != self.layouts[i].param[k]
                    or np_c.PyArray_DIMS(param)[axis] != self.layouts[i].shape[k]):
                raise FastoptError(f"{self.names[i]} was given another shape or strides; {MEND}")
        return 0

    cdef int require_disjoint(self, Py_ssize_t i, PyObject *grad) except -1:
        """The gradient, without gaps, shares no memory with any parameter or state."""
        cdef uintptr_t begin = <uintptr_t>np_c.PyArray_DATA(<PyArrayObject *>grad)
        if begin == self.slots[i].disjoint:
            return 0
        self.require_apart(i, begin, begin + np_c.PyArray_NBYTES(<PyArrayObject *>grad),
                           <object>grad)
        self.slots[i].disjoint = begin
        return 0

    cdef int require_apart(self, Py_ssize_t i, uintptr_t begin, uintptr_t end, grad) except -1:
        """No element of a gradient between these addresses is a parameter's or a state's."""
        cdef uintptr_t *starts = <uintptr_t *>cnp.PyArray_DATA(self.starts)
        cdef uintptr_t *ends = <uintptr_t *>cnp.PyArray_DATA(self.ends)
        cdef int64_t low = 0, high = self.n_spans, middle
        if begin == end:
            return 0
        while low < high:  # the first span that ends after the gradient begins
            middle = (low + high) // 2
            if ends[middle] > begin:
                high = middle
            else:
                low = middle + 1
        if low < self.n_spans and starts[low] < end:  # perhaps: now element by element
            self.spans.require_apart(f"the gradient of {self.names[i]}", grad)
        return 0


def gather(cnp.ndarray src, cnp.ndarray index, cnp.ndarray out, int n_threads=0):
    """out[i] = src[index[i]], in parallel.

    src: any array whose rows are contiguous; index: contiguous int64; out: contiguous, of src's
    dtype and row shape.
    """
    cdef int64_t n_rows = cnp.PyArray_SIZE(index), bad, n_src
    cdef Py_ssize_t stride
    cdef size_t row_bytes
    if (
        src.ndim == 0
        or src.dtype.hasobject
        or not src[:1].flags.c_contiguous
        or index.ndim != 1
        or index.dtype.char != "l"
        or not cnp.PyArray_ISCARRAY_RO(index)
        or not cnp.PyArray_ISCARRAY(out)
        or out.dtype != src.dtype
        or (<object>out).shape != (n_rows, *(<object>src).shape[1:])
    ):
        raise FastoptError("gather: rows of src, index or out are not of the form needed")
    n_src = src.shape[0]
    stride = src.strides[0]
    row_bytes = cnp.PyArray_NBYTES(out) // n_rows if n_rows else 0
    cdef void *src_data = cnp.PyArray_DATA(src)
    cdef int64_t *rows = <int64_t *>cnp.PyArray_DATA(index)
    cdef void *out_data = cnp.PyArray_DATA(out)
    with nogil:
        bad = fo_gather(src_data, n_src, stride, row_bytes, rows, n_rows, out_data, n_threads)
    if bad >= 0:
        raise FastoptError(f"index[{bad}] is {rows[bad]}; 0 to {n_src - 1} are allowed")


def move(cnp.ndarray source, list arrays, int n_threads=0):
    """Add the bits of source to those of each array: no step of as many can be faster.

    arrays: a parameter of source's dtype and its states, all contiguous and of source's size; the
    states of a parameter of two bytes are float32.
    """
    cdef cnp.ndarray array
    cdef void *data[1 + FO_MAX_STATES]
    cdef int kind = cnp.PyArray_TYPE(source), n_arrays = 0
    cdef int64_t size = cnp.PyArray_SIZE(source)
    if code_of(kind) < 0:
        notice_dtype(source.dtype)
    cdef int dtype = code_of(kind)
    if (
        dtype < 0
        or not 1 <= len(arrays) <= 1 + FO_MAX_STATES
        or not cnp.PyArray_ISCARRAY_RO(source)
    ):
        raise FastoptError("move: source or the number of arrays is not of the form needed")
    for array in arrays:
        if (
            not cnp.PyArray_ISCARRAY(array)
            or cnp.PyArray_SIZE(array) != size
            or cnp.PyArray_TYPE(array) != kind
        ):
            raise FastoptError(f"move: arrays[{n_arrays}] is not of the form needed")
        data[n_arrays] = cnp.PyArray_DATA(array)
        n_arrays += 1
        if dtype != FO_F64:
            kind = cnp.NPY_FLOAT  # of states
    cdef const void *g = cnp.PyArray_DATA(source)
    with nogil:
        fo_limit(<fo_dtype>dtype, g, data[0], data + 1, n_arrays - 1, size, n_threads)


# Loops here and not in Python, which would hear Ctrl-C in their midst and leave a part undone.


def assign_all(list pairs, attributes=()):
    """array[...] = value, for each pair; holder.name = value, for each three."""
    for array, value in pairs:
        array[...] = value
    for holder, name, value in attributes:
        PyObject_GenericSetAttr(holder, name, value)  # not one of the holder's own, in Python


def add_all(list pairs):
    """array += value, for each pair."""
    for array, value in pairs:
        np.add(array, value, out=array, casting="same_kind")


def isas():
    """The instruction sets that this CPU has, narrowest first."""
    return [fo_isa_name(i).decode() for i in range(fo_isa_count()) if fo_isa_supported(i)]


def isa():
    """The instruction set in use."""
    return fo_isa_name(fo_isa_current()).decode()


cdef void parallel_for(int64_t n, int64_t grain, fo_body *body, void *context,
                       int n_threads) noexcept nogil:
    fo_parallel_for(n, grain, body, context, n_threads)


cdef void triangle_times(int is_single, const void *m, int64_t p, const void *x, void *y,
                         void *work, int n_threads) noexcept nogil:
    fo_triangle_times(is_single, m, p, x, y, work, n_threads)


def max_threads():
    """The number of threads by default now; 1 in a build without OpenMP."""
    return fo_max_threads()


def openmp_version():
    """The date of the OpenMP standard built against, or 0."""
    return fo_openmp_version()


def build():
    """The compiler, and the flags that shape the arithmetic."""
    return fo_compiler().decode(), fo_cflags().decode()


cdef use_isa(str wanted):
    for i in range(fo_isa_count()):
        if fo_isa_name(i).decode() == wanted and fo_isa_supported(i):
            fo_isa_use(i)
            return
    raise ImportError(f"FASTOPT_ISA={wanted!r}: this CPU has {', '.join(isas())}")


use_isa(os.environ.get("FASTOPT_ISA") or isas()[-1])
if not os.environ.get("OMP_NUM_THREADS"):  # else the user has said
    fo_limit_threads(cpu_quota() or INT_MAX)
