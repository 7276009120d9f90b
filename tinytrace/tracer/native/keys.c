/* Index keys: what `a[key]` selects. Errors of the key itself were raised by the assignment before. */
#include "hooks.h"
#define NO_IMPORT_ARRAY
#include "operands.h"

static inline int is_index(PyObject *o) { return PyLong_CheckExact(o) || (!PyArray_Check(o) && !PyBool_Check(o) && PyArray_IsScalar(o, Integer)); }
static inline int item_is_basic(PyObject *o) { return is_index(o) || PySlice_Check(o) || o == Py_Ellipsis || o == Py_None; }
int key_is_basic(PyObject *key) {
    if (!PyTuple_Check(key)) return item_is_basic(key) || PyUnicode_Check(key);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(key); i++) if (!item_is_basic(PyTuple_GET_ITEM(key, i))) return 0;
    return 1;
}
int key_is_element(PyObject *array, PyObject *key) {
    int ndim = PyArray_NDIM((PyArrayObject *)array);
    if (!PyTuple_Check(key)) return ndim == 1 && is_index(key);
    if (PyTuple_GET_SIZE(key) != ndim) return 0;
    for (Py_ssize_t i = 0; i < ndim; i++) if (!is_index(PyTuple_GET_ITEM(key, i))) return 0;
    return 1;
}

/* An index array of integers, or a slice's or an integer's place in a key. */
static inline int is_integer_array(PyObject *o) { return PyArray_Check(o) && PyArray_ISINTEGER((PyArrayObject *)o); }

/* Broadcasts `dims` into shape[0..*ndim): index arrays select together. 0 = they do not fit (the assignment has failed then). */
static int broadcast(npy_intp *shape, int *ndim, const npy_intp *dims, int n) {
    while (*ndim < n) {
        memmove(shape + 1, shape, (size_t)(*ndim)++ * sizeof *shape);
        shape[0] = 1;
    }
    for (int i = 1; i <= n; i++) {
        npy_intp *at = &shape[*ndim - i], size = dims[n - i];
        if (*at == 1) *at = size;
        else if (size != 1 && size != *at) return 0;
    }
    return 1;
}

/* What a key of integers, slices, None, ... and arrays of integers selects; 0: it is another key (masks, lists). What index arrays select
   stands where they stand, or first if something else stands between them. */
int selected(PyArrayObject *a, PyObject *key, selection *s) {
    PyObject *one[1] = {key};
    PyObject **items = PyTuple_Check(key) ? &PyTuple_GET_ITEM(key, 0) : one;
    Py_ssize_t n = PyTuple_Check(key) ? PyTuple_GET_SIZE(key) : 1, used = 0;
    int ndim = 0, dim = 0, rank = PyArray_NDIM(a), arrays = 0, together = 0, at = -1, last = -1, apart = 0;
    const npy_intp *sizes = PyArray_DIMS(a), *steps = PyArray_STRIDES(a);
    npy_intp index_shape[MAX_NDIM];
    char *data = PyArray_DATA(a);
    for (Py_ssize_t i = 0; i < n; i++) {
        used += items[i] != Py_None && items[i] != Py_Ellipsis;
        arrays += is_integer_array(items[i]);
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *o = items[i];
        int picks = arrays && (is_integer_array(o) || is_index(o)); /* beside arrays integers are index arrays too */
        if ((!item_is_basic(o) && !picks) || ndim >= MAX_NDIM || used > rank) return 0;
        if (picks) {
            PyArrayObject *index = PyArray_Check(o) ? (PyArrayObject *)o : NULL;
            if (index && !broadcast(index_shape, &together, PyArray_DIMS(index), PyArray_NDIM(index))) return 0;
            if (at < 0) at = ndim;
            else if (last != i - 1) apart = 1;
            last = (int)i;
            dim++;
        } else if (o == Py_None) {
            s->shape[ndim] = 1;
            s->strides[ndim++] = 0;
        } else if (o == Py_Ellipsis) {
            for (Py_ssize_t left = rank - used; left > 0 && dim < rank; left--, dim++) {
                s->shape[ndim] = sizes[dim];
                s->strides[ndim++] = steps[dim];
            }
        } else if (PySlice_Check(o)) {
            Py_ssize_t start, stop, step;
            if (PySlice_Unpack(o, &start, &stop, &step) < 0) { PyErr_Clear(); return 0; }
            s->shape[ndim] = PySlice_AdjustIndices(sizes[dim], &start, &stop, step);
            if (!s->shape[ndim]) start = 0, step = 1; /* as NumPy does */
            s->strides[ndim++] = steps[dim] * step;
            data += start * steps[dim++];
        } else {
            Py_ssize_t index = PyLong_CheckExact(o) ? PyLong_AsSsize_t(o) : PyNumber_AsSsize_t(o, NULL);
            data += (index < 0 ? index + sizes[dim] : index) * steps[dim];
            dim++;
        }
    }
    for (; dim < rank && ndim < MAX_NDIM; dim++) {
        s->shape[ndim] = sizes[dim];
        s->strides[ndim++] = steps[dim];
    }
    if (ndim + together > MAX_NDIM) return 0;
    s->ndim = ndim + together;
    s->data = arrays ? NULL : data;
    if (arrays) {
        if (apart) at = 0;
        if (ndim > at) memmove(s->shape + at + together, s->shape + at, (size_t)(ndim - at) * sizeof *s->shape);
        memcpy(s->shape + at, index_shape, (size_t)together * sizeof *s->shape);
    }
    return 1;
}
