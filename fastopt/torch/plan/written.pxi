# Whether the tensors that a step writes share memory with each other or with a gradient.
from libc.string cimport memcmp, memcpy, memset


cdef struct Span:
    uintptr_t begin, end


# Spans per parameter: itself, its states, master and average, with zero_grads its gradient, and the
# scale bytes of states of 8 bits; and the arrays of a factored rule.
cdef Py_ssize_t USUAL = 2 * FO_MAX_STATES + 4, FACTORED = USUAL + FO_MAX_AXES


cdef int by_begin(const void *one, const void *other) noexcept nogil:
    cdef uintptr_t a = (<const Span *>one).begin, b = (<const Span *>other).begin
    return (a > b) - (a < b)


@cython.auto_pickle(False)
cdef class WrittenMemory:
    """The spans of memory that a step writes.

    They are compared only if an address has changed since the last check, or if the parameters
    that this step updates have not been compared with each other.
    """
    cdef Py_ssize_t each  # the number of spans of a parameter: USUAL or FACTORED
    cdef Span *found  # the spans of this step, `each` for each parameter
    cdef Span *passed  # the spans that have passed a check
    cdef Span *written  # the nonempty spans of the last check, sorted
    cdef Span *gradients  # the gradients that have passed a check, by parameter
    cdef int64_t *checked  # the number of the last check that each parameter has passed
    cdef int64_t n_checks
    cdef Py_ssize_t n_written

    def __cinit__(self, Py_ssize_t n_params, bint is_factored):
        self.each = FACTORED if is_factored else USUAL
        cdef size_t n = n_params * self.each + 1
        self.found = <Span *>calloc(n, sizeof(Span))
        self.passed = <Span *>calloc(n, sizeof(Span))
        self.written = <Span *>calloc(n, sizeof(Span))
        self.gradients = <Span *>calloc(n_params + 1, sizeof(Span))
        self.checked = <int64_t *>calloc(n_params + 1, sizeof(int64_t))
        if not (self.found and self.passed and self.written and self.gradients and self.checked):
            raise MemoryError

    def __dealloc__(self):
        free(self.found)
        free(self.passed)
        free(self.written)
        free(self.gradients)
        free(self.checked)

    cdef int require(self, optimizer, Slot *slots, list group_options, Py_ssize_t begin,
                     Py_ssize_t end, bint clears) except -1:
        """Raise an error if a tensor that a step writes shares memory with another tensor."""
        cdef Py_ssize_t i, size = self.each * sizeof(Span)
        cdef bint is_new = False, is_disjoint = True
        cdef Span gradient
        for i in range(begin, end):
            if slots[i].tensor.grad != NULL:
                collect(slots + i, self.found + i * self.each, clears, self.each)
                is_new |= self.checked[i] != self.n_checks or memcmp(
                    self.found + i * self.each, self.passed + i * self.each, size
                ) != 0
        if is_new:
            is_disjoint = self.sort(slots, begin, end)
            for i in range(begin, end):
                if clears and slots[i].tensor.grad != NULL:
                    tensors.require_clearable(<object>slots[i].param)
        for i in range(begin, end):
            if slots[i].tensor.grad == NULL or slots[i].tensor.rows != NULL or clears:
                continue
            gradient = span_of_gradient(slots + i)
            if (is_new or gradient.begin != self.gradients[i].begin
                    or gradient.end != self.gradients[i].end):
                is_disjoint = is_disjoint and not self.overlaps(gradient)
                self.gradients[i] = gradient
        if not is_disjoint:
            memset(self.gradients + begin, 0, (end - begin) * sizeof(Span))
            memset(self.passed + begin * self.each, 0, (end - begin) * size)
            tensors.require_apart(optimizer, [
                (i, <object>slots[i].param,
                 (<GroupOptions>group_options[slots[i].group]).known_items(<object>slots[i].inner))
                for i in range(begin, end) if slots[i].tensor.grad != NULL
            ], clears)
        elif is_new:
            self.n_checks += 1
            for i in range(begin, end):
                if slots[i].tensor.grad != NULL:
                    self.checked[i] = self.n_checks
                    memcpy(self.passed + i * self.each, self.found + i * self.each, size)
        return 0

    cdef bint sort(self, Slot *slots, Py_ssize_t begin, Py_ssize_t end) noexcept:
        """Sort the spans that this step writes; return whether they are disjoint."""
        cdef Py_ssize_t i, k, n = 0
        for i in range(begin, end):
            if slots[i].tensor.grad == NULL:
                continue
            for k in range(i * self.each, (i + 1) * self.each):
                if self.found[k].begin != self.found[k].end:
                    self.written[n] = self.found[k]
                    n += 1
        self.n_written = n
        qsort(self.written, n, sizeof(Span), by_begin)
        for k in range(1, n):
            if self.written[k].begin < self.written[k - 1].end:
                return False
        return True

    cdef bint overlaps(self, Span gradient) noexcept:
        """Return whether a gradient overlaps a span that the step writes."""
        cdef Py_ssize_t low = 0, high = self.n_written, middle
        while low < high:  # find the first span that ends after the gradient begins
            middle = (low + high) // 2
            if self.written[middle].end > gradient.begin:
                high = middle
            else:
                low = middle + 1
        return (low < self.n_written and gradient.begin != gradient.end
                and self.written[low].begin < gradient.end)


cdef void collect(Slot *slot, Span *out, bint clears, Py_ssize_t each) noexcept:
    """Set `out` to the spans of one parameter that a step writes."""
    cdef fo_tensor *tensor = slot.tensor
    cdef fo_layout *layout = &slot.layout
    cdef Py_ssize_t k
    cdef uintptr_t begin
    memset(out, 0, each * sizeof(Span))
    out[0].begin = <uintptr_t>tensor.param
    out[0].end = out[0].begin + extent(slot, layout.param, size_of(layout.param_dtype))
    for k in range(FO_MAX_STATES):
        if tensor.state[k] != NULL:
            out[1 + k] = own_span(slot, tensor.state[k], size_of(layout.state_dtype))
            if slot.is_blocked:
                begin = <uintptr_t>tensor.scale[k]
                out[4 + FO_MAX_STATES + k] = Span(begin, begin + n_blocks(slot))
    if tensor.master != NULL:
        out[1 + FO_MAX_STATES] = own_span(slot, tensor.master, 4)
    if tensor.ema != NULL:
        out[2 + FO_MAX_STATES] = own_span(slot, tensor.ema, size_of(tensor.dtype))
    if clears and tensor.rows == NULL:
        out[3 + FO_MAX_STATES] = span_of_gradient(slot)
    if tensor.factored != NULL:
        for k in range(slot.n_factored):
            out[USUAL + k].begin = <uintptr_t>tensor.factored.state[k]
            out[USUAL + k].end = (out[USUAL + k].begin
                                  + <uintptr_t>(slot.factored_size[k] * size_of(tensor.dtype)))


cdef uintptr_t n_blocks(Slot *slot) noexcept:
    """Return the number of scale bytes of a state of 8 bits."""
    cdef int64_t rows = slot.layout.shape[0] if slot.layout.n_axes > 1 else 1
    return <uintptr_t>(rows * ((slot.tensor.size // rows + FO_BLOCK - 1) // FO_BLOCK))


cdef Span own_span(Slot *slot, void *data, int size) noexcept:
    return Span(<uintptr_t>data, <uintptr_t>data + slot.tensor.size * size)


cdef Span span_of_gradient(Slot *slot) noexcept:
    cdef uintptr_t begin = <uintptr_t>slot.tensor.grad
    return Span(begin, begin + extent(slot, slot.layout.grad, size_of(slot.layout.grad_dtype)))


cdef uintptr_t extent(Slot *slot, const int64_t *strides, int size) noexcept:
    """Return the number of bytes from the first element to the end of the last."""
    cdef int k
    cdef uintptr_t bytes = size
    if slot.tensor.size == 0:
        return 0
    for k in range(slot.layout.n_axes):
        bytes += <uintptr_t>((slot.layout.shape[k] - 1) * strides[k])
    return bytes
