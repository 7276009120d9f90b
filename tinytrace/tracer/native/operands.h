/* NumPy's C interface, in one place: its table is shared by the files that use it and filled by `operands_attach`. And the one
   question that is asked of every op: is this the same call as the last one? */
#ifndef TINYTRACE_OPERANDS_H
#define TINYTRACE_OPERANDS_H
#define NPY_NO_DEPRECATED_API NPY_1_22_API_VERSION
#define NPY_TARGET_VERSION NPY_1_22_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL tinytrace_array_api
#include <numpy/arrayobject.h>
#if NPY_ABI_VERSION < 0x02000000
#define PyDataType_ELSIZE(d) ((d)->elsize)
#endif

enum { CONTIGUITY = NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_F_CONTIGUOUS, A_FLOAT = -1, AN_INT = -2 };

/* The part of an array that an index key selects. */
typedef struct {
    int ndim;
    npy_intp shape[2 * MAX_NDIM], strides[2 * MAX_NDIM];
    char *data; /* where it begins; NULL: index arrays pick its elements, and it has no strides */
} selection;
int selected(PyArrayObject *array, PyObject *key, selection *part); /* keys.c; 0 = not known */

/* The signature of the last call, if this one has it too: the operands are compared with those, and no key is built. Calls of ufuncs
   with one output on plain arrays, floats and ints, where arrays are the same object or begin elsewhere. 0 = build it. */
static inline uint32_t same_as_last(const call_hint *h, int n_in, PyObject *const *args, Py_ssize_t n_args, PyObject *result) {
    if (n_args != n_in && (n_args != n_in + 1 || args[n_in] != result)) return 0;
    const uint64_t *w = h->signature.key + 1;
    const void *seen[ORDINARY_OPERANDS], *data[ORDINARY_OPERANDS];
#pragma GCC unroll 4
    for (int i = 0; i <= n_in; i++) {
        const operand_hint *x = &h->operands[i];
        PyObject *o = i < n_in ? args[i] : result;
        seen[i] = data[i] = o;
        w++;
        if (Py_IS_TYPE(o, &PyArray_Type)) {
            const PyArrayObject *a = (const PyArrayObject *)o;
            int ndim = PyArray_NDIM(a), alias = -1;
            if (ndim != x->ndim || PyArray_DESCR(a) != x->descr || (PyArray_FLAGS(a) & CONTIGUITY) != x->contiguity) return 0;
            data[i] = PyArray_DATA((PyArrayObject *)o);
            for (int k = i - 1; k >= 0; k--) {
                if (seen[k] == o) alias = k;
                else if (data[k] == data[i]) return 0;
            }
            uint64_t differ = (uint64_t)(alias ^ x->alias);
            const npy_intp *shape = PyArray_DIMS((PyArrayObject *)o), *strides = PyArray_STRIDES((PyArrayObject *)o);
            for (int k = 0; k < ndim; k++) differ |= w[k] ^ (uint64_t)shape[k];
            w += ndim;
            if (!x->contiguity) {
                for (int k = 0; k < ndim; k++) differ |= w[k] ^ (uint64_t)strides[k];
                w += ndim;
            }
            if (differ) return 0;
        } else if ((x->ndim != A_FLOAT || !PyFloat_CheckExact(o)) && (x->ndim != AN_INT || !PyLong_CheckExact(o))) return 0;
    }
    return h->signature.id;
}
#endif
