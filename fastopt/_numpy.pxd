# Macros and functions of NumPy and Python that take borrowed references.  With owned references,
# reference counting would take half the time of a small step.
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t


cdef extern from "numpy/arrayobject.h" nogil:
    enum:
        NPY_HALF

    ctypedef struct PyArrayObject:
        pass

    int PyArray_CheckExact(PyObject *)
    int PyArray_TYPE(PyArrayObject *)
    int PyArray_ISCARRAY(PyArrayObject *)
    int PyArray_ISCARRAY_RO(PyArrayObject *)
    int PyArray_IS_C_CONTIGUOUS(PyArrayObject *)
    bint PyArray_SAMESHAPE(PyArrayObject *, PyArrayObject *)
    int PyArray_ISNOTSWAPPED(PyArrayObject *)
    int PyArray_ITEMSIZE(PyArrayObject *)
    int PyArray_ISALIGNED(PyArrayObject *)
    int PyArray_ISBEHAVED(PyArrayObject *)
    int PyArray_ISWRITEABLE(PyArrayObject *)
    int PyArray_NDIM(PyArrayObject *)
    Py_ssize_t *PyArray_STRIDES(PyArrayObject *)
    Py_ssize_t *PyArray_DIMS(PyArrayObject *)
    void *PyArray_DATA(PyArrayObject *)
    int64_t PyArray_SIZE(PyArrayObject *)
    int64_t PyArray_NBYTES(PyArrayObject *)

cdef extern from "Python.h":
    PyObject *PyTuple_GetItem(object, Py_ssize_t) except NULL
    PyObject *PyList_GetItem(PyObject *, Py_ssize_t)
    void PyErr_Clear()
    PyObject *PyDict_GetItemWithError(PyObject *, PyObject *) except? NULL
