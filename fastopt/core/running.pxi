# Record which call is using the arrays of an optimizer, and refuse all others until it ends.
import os

from fastopt._errors import FastoptError

cimport cython
from libc.stdint cimport int64_t


cdef extern from *:
    """
    #if defined(_MSC_VER)
    #include <intrin.h>
    #define fo_exchange(at, value) _InterlockedExchange((volatile long *)(at), value)
    #elif defined(Py_GIL_DISABLED)
    #define fo_exchange(at, value) __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST)
    #else /* the GIL is held here, so that no other thread runs between the two accesses */
    static inline int fo_exchange(int *at, int value)
    {
        const int before = *at;
        *at = value;
        return before;
    }
    #endif
    """
    int fo_exchange(int *at, int value) noexcept


# The calls.  Those before FIRST_WRITER only read the arrays.
CALLS = ("save()", "state_dict()", "step()", "bind()", "accumulate()", "zero_grad()", "load()",
         "load_state_dict()", "add_param_group()", "extrapolated()", "averaged()", "perturbed()",
         "sync_master()", "setting grad_scale")
cdef int FIRST_WRITER = 2
cdef int STEP = CALLS.index("step()"), BIND = CALLS.index("bind()"), LOAD = CALLS.index("load()")
cdef int SCALE = CALLS.index("setting grad_scale")

cdef int process = 1  # a forked child increases it


def _count_fork():
    global process
    process += 1


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_count_fork)


@cython.auto_pickle(False)
cdef class Running:
    """The call that is using the arrays of an optimizer, if there is one."""
    cdef int busy  # 0, or `process` of the process in which the call began
    cdef int call  # index into CALLS of the last call
    cdef int64_t changes  # number of calls that may have changed something
    cdef bint is_retired  # add_param_group has replaced the plan by a new one

    cdef int begin(self, int call) except -1:
        """Record that a call begins; raise an error if another one is running."""
        cdef int other = fo_exchange(&self.busy, process)
        if other:
            self.require_left_by_fork(other, call)
        self.call = call
        self.changes += call >= FIRST_WRITER
        return 0

    cdef int require_left_by_fork(self, int other, int call) except -1:
        """Raise an error unless the running call is one of the parent process that does no harm.

        Another thread forked the process during that call, which never ends in the child.  It does
        no harm if it only reads the arrays, or if the new call is load(), which replaces them all.
        """
        if other != process and (self.call < FIRST_WRITER or call == LOAD):
            return 0
        fo_exchange(&self.busy, other)
        self.refuse(other, CALLS[call])

    cdef int refuse(self, int other, str call) except -1:
        if other == process:
            raise FastoptError(
                f"{call} while {CALLS[self.call]} of this optimizer is running, maybe in another "
                "thread; an optimizer is for one thread at a time"
            )
        raise FastoptError(
            f"{call} in a process that was forked while {CALLS[self.call]} of this optimizer was "
            "running: its arrays may be half updated; load() a file, or make a new optimizer"
        )

    cdef void end(self) noexcept:
        if not self.is_retired:
            fo_exchange(&self.busy, 0)

    def require_idle(self):
        """Raise an error if a call is running, in another thread or further up this call stack."""
        if self.busy and (self.busy == process or self.call >= FIRST_WRITER):
            self.refuse(self.busy, "a call")

    def during(self, str call):
        """Return a context manager for a call of CALLS; other calls are refused inside it."""
        return During(self, CALLS.index(call))

    def retire(self):
        """Refuse all later calls, because a new plan has replaced this one."""
        self.is_retired = True

    def watch(self):
        """Return an object that raises an error when pickled if the arrays may have changed."""
        self.require_idle()
        return Unchanged(self, self.changes)


@cython.auto_pickle(False)
cdef class During:
    """A context manager that records a call as running."""
    cdef Running running
    cdef int call
    cdef bint is_held

    def __init__(self, Running running, int call):
        self.running, self.call = running, call

    def __enter__(self):
        self.running.begin(self.call)
        self.is_held = True
        return self

    def __exit__(self, *error):
        self.release()

    def release(self):
        """End the call before the end of the block."""
        if self.is_held:
            self.is_held = False
            self.running.end()


cdef class Unchanged:
    """The result of `Running.watch`, to be pickled or copied after the arrays of an optimizer.

    Pickling or copying it raises an error if the arrays may have changed since `watch`.
    """
    cdef Running running
    cdef int64_t changes

    def __init__(self, Running running, int64_t changes):
        self.running, self.changes = running, changes

    def __reduce__(self):
        if self.running.busy or self.running.changes != self.changes:
            raise FastoptError(
                f"{CALLS[self.running.call]} of this optimizer ran while it was pickled or copied, "
                "in another thread; an optimizer is for one thread at a time"
            )
        return bool, ()
