# Instruction sets, threads, and how the extension was built.
import os

from fastopt._cpus import cpu_quota

from libc.limits cimport INT_MAX

from fastopt._csrc cimport *


def isas():
    """Return the instruction sets that this CPU supports, narrowest first."""
    return [fo_isa_name(i).decode() for i in range(fo_isa_count()) if fo_isa_supported(i)]


def isa():
    """Return the instruction set in use."""
    return fo_isa_name(fo_isa_current()).decode()


cdef use_isa(str wanted):
    """Select the instruction set with this name; raise ImportError if the CPU lacks it."""
    for i in range(fo_isa_count()):
        if fo_isa_name(i).decode() == wanted and fo_isa_supported(i):
            fo_isa_use(i)
            return
    raise ImportError(f"FASTOPT_ISA={wanted!r}: this CPU has {', '.join(isas())}")


def max_threads():
    """Return the current default number of threads; 1 in a build without OpenMP."""
    return fo_max_threads()


def openmp_version():
    """Return the date of the OpenMP standard that the compiler supports; 0 without OpenMP."""
    return fo_openmp_version()


def build():
    """Return the compiler and the flags that affect the arithmetic."""
    return fo_compiler().decode(), fo_cflags().decode()


use_isa(os.environ.get("FASTOPT_ISA") or isas()[-1])
if not os.environ.get("OMP_NUM_THREADS"):  # the user's choice has precedence over the quota
    fo_limit_threads(cpu_quota() or INT_MAX)
