# The address, shape, strides and dtype of a tensor.
import torch

from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.exc cimport PyErr_Clear
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint64_t, uintptr_t


cdef extern from "exchange.h":
    enum:
        FO_DLPACK_CPU
        FO_DLPACK_FLOAT
        FO_DLPACK_BFLOAT

    ctypedef struct fo_dlpack_device:
        int32_t type

    ctypedef struct fo_dlpack_dtype:
        uint8_t code
        uint8_t bits
        uint16_t lanes

    ctypedef struct fo_dlpack_tensor:
        void *data
        fo_dlpack_device device
        int32_t ndim
        fo_dlpack_dtype dtype
        int64_t *shape
        int64_t *strides
        uint64_t byte_offset

    ctypedef int fo_dlpack_look(void *object, fo_dlpack_tensor *out)
    ctypedef struct fo_dlpack_table:
        pass

    fo_dlpack_look *fo_dlpack_look_of(const fo_dlpack_table *table)


# A strided tensor in the memory of the CPU.  `shape` and `strides` point to arrays of the tensor
# itself, or into `copies`; so a View is valid while the tensor is alive and has not been changed.
cdef struct View:
    void *data
    int n_axes
    int64_t *shape
    int64_t *strides  # in elements
    int dtype  # an fo_dtype, or -1 for others
    int64_t copies[2 * FO_MAX_AXES]


cdef object Tensor = torch.Tensor  # the class of the argument of view_of()
DTYPES = {torch.float32: FO_F32, torch.float64: FO_F64, torch.float16: FO_F16,
          torch.bfloat16: FO_BF16}
DTYPE_OF = {code: dtype for dtype, code in [*DTYPES.items(), (torch.uint8, FO_F8)]}
cdef fo_dlpack_look *exchange = NULL


def use_exchange(bint enabled=True):
    """Choose whether view_of() uses DLPack's C exchange table; return whether it does.

    A torch without the table never uses it.  Python calls then take ten times as long.
    """
    global exchange
    exchange = NULL
    capsule = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    if enabled and capsule is not None:
        exchange = fo_dlpack_look_of(
            <fo_dlpack_table *>PyCapsule_GetPointer(capsule, "dlpack_exchange_api")
        )
    return exchange != NULL


use_exchange()


cdef bint view_of(PyObject *tensor, View *view) except -1:
    """Describe a strided tensor in the CPU's memory; return False for any other tensor."""
    cdef fo_dlpack_tensor seen
    if exchange == NULL:
        return view_by_calls(<object>tensor, view)
    if exchange(tensor, &seen):
        PyErr_Clear()  # such as a sparse tensor, or a subclass without memory
        return False
    if seen.device.type != FO_DLPACK_CPU or seen.ndim > FO_MAX_AXES:
        return False
    view.n_axes = seen.ndim
    view.shape, view.strides = seen.shape, seen.strides
    view.data = <char *>seen.data + seen.byte_offset
    if seen.data == NULL and has_elements(view):  # a fake tensor, or its storage has been freed
        return False
    view.dtype = -1
    if seen.dtype.code == FO_DLPACK_BFLOAT:
        view.dtype = FO_BF16
    elif seen.dtype.code == FO_DLPACK_FLOAT:
        if seen.dtype.bits == 32:
            view.dtype = FO_F32
        elif seen.dtype.bits == 64:
            view.dtype = FO_F64
        elif seen.dtype.bits == 16:
            view.dtype = FO_F16
    return True


cdef bint view_by_calls(tensor, View *view) except -1:
    cdef int k
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.dim() > FO_MAX_AXES:
        return False
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) and tensors.is_wrapper(tensor):
        return False
    view.data = <void *><uintptr_t>tensor.data_ptr()
    if view.data == NULL and tensor.numel():
        return False
    view.n_axes = tensor.dim()
    view.shape, view.strides = view.copies, view.copies + FO_MAX_AXES
    view.dtype = DTYPES.get(tensor.dtype, -1)
    for k, (length, stride) in enumerate(zip(tensor.shape, tensor.stride())):
        view.shape[k], view.strides[k] = length, stride
    return True


cdef bint has_elements(View *view) noexcept:
    cdef int k
    for k in range(view.n_axes):
        if view.shape[k] == 0:
            return False
    return True


cdef inline bint is_aligned(View *view) noexcept:
    return <uintptr_t>view.data % <uintptr_t>size_of(view.dtype) == 0


cdef inline int size_of(int dtype) noexcept:
    return 8 if dtype == FO_F64 else 4 if dtype == FO_F32 else 1 if dtype == FO_F8 else 2
