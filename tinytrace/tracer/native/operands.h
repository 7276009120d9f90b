/* NumPy's C interface, in one place: its table is shared by the files that use it and filled by `operands_attach`. */
#ifndef TINYTRACE_OPERANDS_H
#define TINYTRACE_OPERANDS_H
#define NPY_NO_DEPRECATED_API NPY_1_22_API_VERSION
#define NPY_TARGET_VERSION NPY_1_22_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL tinytrace_array_api
#include <numpy/arrayobject.h>
#if NPY_ABI_VERSION < 0x02000000
#define PyDataType_ELSIZE(d) ((d)->elsize)
#endif
#endif
