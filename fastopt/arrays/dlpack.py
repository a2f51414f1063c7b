"""bfloat16 arrays through DLPack.

`numpy.from_dlpack` refuses bfloat16. It is therefore given the same memory as uint16, and the
result is viewed as bfloat16.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from fastopt.arrays.dtypes import Array, bfloat16

UINT, BFLOAT = 1, 4  # DLDataTypeCode


class _Tensor(ctypes.Structure):
    """The first fields of DLTensor in dlpack.h."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
    ]


class _Versioned(ctypes.Structure):
    """The first fields of DLManagedTensorVersioned; DLManagedTensor starts with its DLTensor."""

    _fields_ = [
        ("version", ctypes.c_uint32 * 2),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    ]


# Separate prototypes: the attributes of ctypes.pythonapi are shared with all other modules.
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


class _AsBits:
    """An exporter that presents another exporter's bfloat16 array as uint16.

    The consumer of a capsule owns the DLTensor in it, so it may change the type code.
    """

    def __init__(self, exporter: Any) -> None:
        self.exporter = exporter
        self.found = False

    def __dlpack_device__(self) -> Any:
        return self.exporter.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        capsule = self.exporter.__dlpack__(**options)
        if _is_valid(capsule, b"dltensor_versioned"):
            tensor = _Versioned.from_address(_pointer(capsule, b"dltensor_versioned")).tensor
        else:
            tensor = _Tensor.from_address(_pointer(capsule, b"dltensor"))
        self.found = (tensor.code, tensor.bits, tensor.lanes) == (BFLOAT, 16, 1)
        if self.found:
            tensor.code = UINT
        return capsule


def as_bfloat16(what: str, value: object) -> Array | None:
    """Return, without a copy, the bfloat16 array that `value` exports; None if it exports none."""
    exporter = _AsBits(value)
    try:
        array = np.from_dlpack(exporter)
    except (AttributeError, TypeError, ValueError, RuntimeError, BufferError):
        return None
    return array.view(bfloat16(f"{what}, of bfloat16,")) if exporter.found else None
