/* The part of DLPack 1.2 that reads a tensor without taking a reference to it.  torch
 * publishes a table of C functions in the capsule
 * torch.Tensor.__dlpack_c_exchange_api__.  The layout of the structs is fixed by
 * https://github.com/dmlc/dlpack/blob/main/include/dlpack/dlpack.h. */
#ifndef FASTOPT_EXCHANGE_H
#define FASTOPT_EXCHANGE_H

#include <stdint.h>

enum { FO_DLPACK_CPU = 1, FO_DLPACK_FLOAT = 2, FO_DLPACK_BFLOAT = 4 };

typedef struct {
    uint32_t major, minor;
} fo_dlpack_version;

typedef struct {
    int32_t type, id;
} fo_dlpack_device;

typedef struct {
    uint8_t code, bits;
    uint16_t lanes;
} fo_dlpack_dtype;

typedef struct {
    void *data;
    fo_dlpack_device device;
    int32_t ndim;
    fo_dlpack_dtype dtype;
    int64_t *shape, *strides; /* in elements */
    uint64_t byte_offset;
} fo_dlpack_tensor;

/* Describe the tensor `object`, a Python object, in *out, whose arrays belong to the
 * tensor.  Returns 0, or -1 with a Python exception set.  DLPack names this function
 * dltensor_from_py_object_no_sync. */
typedef int fo_dlpack_look(void *object, fo_dlpack_tensor *out);

typedef struct fo_dlpack_table {
    fo_dlpack_version version;
    struct fo_dlpack_table *older; /* a table of an older version, or NULL */
    void *allocate, *export_owned, *import_owned;
    fo_dlpack_look *look; /* may be NULL */
    void *stream;
} fo_dlpack_table;

/* Return the function of the table of major version 1, or NULL if there is none. */
static inline fo_dlpack_look *fo_dlpack_look_of(const fo_dlpack_table *table)
{
    while (table && table->version.major != 1)
        table = table->older;
    return table ? table->look : 0;
}

#endif
