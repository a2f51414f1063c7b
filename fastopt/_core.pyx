"""The boundary: checks buffers, fills the structs of csrc/fastopt.h, drops the lock, calls C."""

import os

from fastopt._arrays import Spans, as_direct, as_gradient, require_direct, require_parameter
from fastopt._checks import Whole, from_environment
from fastopt._errors import FastoptError

cimport numpy as cnp
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free

from fastopt._csrc cimport *
from fastopt cimport _numpy as np_c
from fastopt._numpy cimport PyArrayObject

cnp.import_array()

CHUNK = FO_CHUNK
# Elements; chosen with bench/gaps.py.
SERIAL_BELOW = from_environment("FASTOPT_SERIAL_BELOW", Whole(0, 2**62), default=2**20)
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
    uintptr_t disjoint  # where a gradient lay that was found to overlap nothing


cdef class Plan:
    """Parameters with their states, cut into work, and the gradients of the step to come.

    One for the life of a set of parameters; a new one when a parameter is added.
    """
    cdef fo_plan *plan
    cdef fo_tensor *tensors
    cdef int64_t n, n_spans
    cdef int n_threads
    cdef bint busy
    cdef public int64_t step_count  # here, so that an interrupt can not come between step and count
    cdef str kind
    cdef tuple params, names, holders, keys, bound
    cdef object arrays
    cdef object spans
    cdef cnp.ndarray starts, ends  # of the spans
    cdef Slot *slots

    def __cinit__(self, str kind, list params, list names, list holders, list keys, list states,
                  list scalars, list group_of, int n_groups, int n_threads):
        cdef Py_ssize_t i, k
        cdef cnp.ndarray array, step, saved
        cdef fo_tensor *described
        self.n = len(params)
        self.n_threads = n_threads
        self.kind = kind
        self.params, self.names = tuple(params), tuple(names)
        self.holders, self.keys = tuple(holders), tuple(keys)
        self.arrays = (states, scalars)
        named = list(zip(names, params, strict=True))
        for name, arrays, numbers in zip(names, states, scalars, strict=True):
            named += [(f"the state of {name}", array) for array in (*arrays, *numbers)]
        self.spans = Spans(named)
        self.starts, self.ends = self.spans.starts, self.spans.ends
        self.n_spans = len(self.spans.names)

        described = <fo_tensor *>calloc(self.n + 1, sizeof(fo_tensor))
        self.slots = <Slot *>calloc(self.n + 1, sizeof(Slot))
        if not described or not self.slots:
            free(described)
            raise MemoryError
        for i in range(self.n):
            array = params[i]
            described[i].dtype = FO_F32 if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT else FO_F64
            described[i].group = group_of[i]
            described[i].size = cnp.PyArray_SIZE(array)
            described[i].param = cnp.PyArray_DATA(array)
            step, saved = scalars[i]
            described[i].step = <int64_t *>cnp.PyArray_DATA(step)
            described[i].saved = <double *>cnp.PyArray_DATA(saved)
            for k, array in enumerate(states[i]):
                described[i].state[k] = cnp.PyArray_DATA(array)
            self.slots[i].param = <PyObject *>self.params[i]
            self.slots[i].numpy_type = cnp.PyArray_TYPE(<cnp.ndarray>params[i])
            if self.holders[i] is not None:
                self.slots[i].holder = <PyObject *>self.holders[i]
                self.slots[i].key = <PyObject *>self.keys[i]
                self.slots[i].place = keys[i] if isinstance(holders[i], list) else -1
        self.plan = fo_plan_new(described, self.n, n_groups, SERIAL_BELOW)
        free(described)
        if not self.plan:
            raise MemoryError
        self.tensors = fo_plan_tensors(self.plan)

    def __dealloc__(self):
        fo_plan_free(self.plan)
        free(self.slots)

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
        for i, (name, param, grad) in enumerate(zip(self.names, self.params, grads, strict=True)):
            if grad is not None:
                array = as_gradient(name, param, grad)
                require_direct(name, param, grad, array)
                self.require_disjoint(i, <PyObject *>array)
                grad = array
            bound.append(grad)
        self.bound = tuple(bound)

    @property
    def gradients(self):
        """The bound gradients, in the order of the parameters, or None."""
        return self.bound

    def step(self, grads, list options, list rates):
        """Check every gradient, then update every parameter; None stands for the bound ones.

        options: the arguments of set_group for each group, or None where they are as they were;
        rates: (group, learning rate) for each group that follows a schedule, or None.
        """
        cdef int n_threads
        self.require_idle()
        self.busy = True
        try:
            if grads is not None:
                ordered = self.in_order(grads)
            elif self.bound is not None:
                ordered = self.bound
            else:
                raise FastoptError("step() without gradients needs bind(grads) first")
            _alive = self.point_at(ordered)
            if options is not None:
                for i, (rule, hp, weight_decay, decay, base_lr, maximize) in enumerate(options):
                    self.set_group(i, rule, hp, weight_decay, decay, base_lr, maximize)
            if rates is not None:
                for i, rate in rates:
                    fo_plan_groups(self.plan)[<int>i].hp[0] = rate
            n_threads = self.n_threads if self.n_threads else fo_max_threads()
            with nogil:
                fo_step(self.plan, n_threads)
            self.step_count += 1
        finally:
            self.busy = False

    cdef tuple in_order(self, grads):
        """The gradients in the order of the parameters."""
        if self.kind == "array":
            return (grads,)
        if self.kind == "dict":
            if not isinstance(grads, dict):
                raise TypeError(f"gradients are a {type(grads).__name__}; a dict is needed")
            if len(grads) == self.n:
                try:
                    return tuple([grads[key] for key in self.keys])
                except KeyError:
                    pass
            raise FastoptError(
                f"gradients have keys {list(grads)}; {list(self.keys)} are needed"
            )
        if not isinstance(grads, (list, tuple)):
            raise TypeError(f"gradients are a {type(grads).__name__}; a list or tuple is needed")
        if len(grads) != self.n:
            raise FastoptError(f"{len(grads)} gradients for {self.n} parameters")
        return tuple(grads)

    cdef list point_at(self, tuple grads):
        """Point every tensor at its gradient; returns the copies that had to be made."""
        cdef Py_ssize_t i
        cdef PyObject *grad
        cdef PyArrayObject *param
        cdef list converted = []
        for i in range(self.n):
            self.require_unchanged(i)
            param = <PyArrayObject *>self.slots[i].param
            grad = np_c.PyTuple_GetItem(grads, i)
            if grad == <PyObject *>None:
                self.tensors[i].grad = NULL
                continue
            if not (
                np_c.PyArray_CheckExact(grad)
                and np_c.PyArray_TYPE(<PyArrayObject *>grad) == np_c.PyArray_TYPE(param)
                and np_c.PyArray_ISCARRAY_RO(<PyArrayObject *>grad)
                and np_c.PyArray_SAMESHAPE(<PyArrayObject *>grad, param)
            ):
                array = as_gradient(self.names[i], self.params[i], <object>grad)
                self.spans.require_apart(self.names[i], array)
                array = as_direct(self.params[i], array)
                converted.append(array)
                grad = <PyObject *>array
            self.require_disjoint(i, grad)
            self.tensors[i].grad = np_c.PyArray_DATA(<PyArrayObject *>grad)
        return converted

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
        if not np_c.PyArray_ISCARRAY(param):
            require_parameter(self.names[i], self.params[i])
        return 0

    cdef int require_disjoint(self, Py_ssize_t i, PyObject *grad) except -1:
        """The gradient, contiguous, shares no memory with any parameter or state."""
        cdef uintptr_t begin = <uintptr_t>np_c.PyArray_DATA(<PyArrayObject *>grad)
        if begin == self.slots[i].disjoint:
            return 0
        self.require_apart(i, begin, begin + np_c.PyArray_NBYTES(<PyArrayObject *>grad))
        self.slots[i].disjoint = begin
        return 0

    cdef int require_apart(self, Py_ssize_t i, uintptr_t begin, uintptr_t end) except -1:
        """No parameter or state lies within these addresses."""
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
        if low < self.n_spans and starts[low] < end:
            raise FastoptError(
                f"the gradient of {self.names[i]} shares memory with {self.spans.names[low]}"
            )
        return 0


def gather(cnp.ndarray src, cnp.ndarray index, cnp.ndarray out, int n_threads=0):
    """out[i] = src[index[i]], in parallel.

    src: any array whose rows are contiguous; index: contiguous int64; out: contiguous, of src's
    dtype and row shape.
    """
    cdef int64_t n_rows = cnp.PyArray_SIZE(index), bad, n_src
    cdef Py_ssize_t stride
    cdef size_t row_bytes
    cdef int threads = n_threads if n_threads else fo_max_threads()
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
        bad = fo_gather(src_data, n_src, stride, row_bytes, rows, n_rows, out_data, threads)
    if bad >= 0:
        raise FastoptError(f"index[{bad}] is {rows[bad]}; 0 to {n_src - 1} are allowed")


def isas():
    """The instruction sets that this CPU has, narrowest first."""
    return [fo_isa_name(i).decode() for i in range(fo_isa_count()) if fo_isa_supported(i)]


def isa():
    """The instruction set in use."""
    return fo_isa_name(fo_isa_current()).decode()


def max_threads():
    """The number of threads that OpenMP would use now; 1 in a build without it."""
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
