/* From a call to its signature: the arrays that were read and written, and the arguments that decide the count. */
#include "hooks.h"
#include "operands.h"
#include <stdio.h>

int operands_attach(void) {
    if (PyArray_API) return 0;
    return _import_array();
}

typedef struct {
    uint64_t words[1 + MAX_OPERANDS * (1 + 2 * MAX_NDIM) + MAX_ATTRIBUTE_BYTES / 8];
    uint32_t used, n_in, n_out, attribute_bytes;
    PyArrayObject *arrays[MAX_OPERANDS]; /* NULL for scalars */
    int left_out;
    char attributes[MAX_ATTRIBUTE_BYTES + 1];
} signature_key;

static uint64_t head(int ndim, int layout, int alias, int kind, uint64_t itemsize) {
    return (uint64_t)ndim | (uint64_t)layout << 8 | (uint64_t)alias << 16 | (uint64_t)kind << 24 | itemsize << 32;
}

enum { MAX_INPUTS = MAX_OPERANDS - 2 }; /* the result is always kept */
static inline uint32_t count(const signature_key *k) { return k->n_in + k->n_out; }

static void add_array(signature_key *k, PyArrayObject *a) {
    uint32_t n = count(k);
    if (n == MAX_OPERANDS) { k->left_out = 1; return; }
    int ndim = PyArray_NDIM(a), flags = PyArray_FLAGS(a), alias = NO_ALIAS;
    const npy_intp *shape = PyArray_DIMS(a), *strides = PyArray_STRIDES(a);
    for (uint32_t i = 0; i < n; i++) {
        PyArrayObject *o = k->arrays[i];
        if (o && (o == a || (PyArray_DATA(o) == PyArray_DATA(a) && PyArray_NDIM(o) == ndim && (!ndim || (memcmp(PyArray_DIMS(o), shape, (size_t)ndim * sizeof *shape) == 0
                             && memcmp(PyArray_STRIDES(o), strides, (size_t)ndim * sizeof *strides) == 0))))) {
            alias = (int)i;
            break;
        }
    }
    const PyArray_Descr *d = PyArray_DESCR(a);
    int layout = flags & NPY_ARRAY_C_CONTIGUOUS ? LAYOUT_C : flags & NPY_ARRAY_F_CONTIGUOUS ? LAYOUT_F : LAYOUT_STRIDED;
    uint64_t *w = k->words + k->used;
    *w++ = head(ndim, layout | (d->byteorder == NPY_OPPBYTE ? LAYOUT_SWAPPED : 0), alias, d->kind, (uint64_t)PyArray_ITEMSIZE(a));
    for (int i = 0; i < ndim; i++) *w++ = (uint64_t)shape[i];
    if (layout == LAYOUT_STRIDED) for (int i = 0; i < ndim; i++) *w++ = (uint64_t)strides[i];
    k->used = (uint32_t)(w - k->words);
    k->arrays[n] = a;
}

static void add_bare(signature_key *k, int layout, int kind, uint64_t itemsize) {
    if (count(k) == MAX_OPERANDS) { k->left_out = 1; return; }
    k->words[k->used++] = head(0, layout, NO_ALIAS, kind, itemsize);
    k->arrays[count(k)] = NULL;
}

/* NumPy's scalar types, looked up once each. */
static int scalar_of(PyObject *o, int *kind, uint64_t *itemsize) {
    static struct { PyTypeObject *type; char kind; uint8_t itemsize; } known[32];
    static int n_known;
    for (int i = 0; i < n_known; i++)
        if (known[i].type == Py_TYPE(o)) { *kind = known[i].kind; *itemsize = known[i].itemsize; return 1; }
    if (!PyArray_IsScalar(o, Generic)) return 0;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyArray_Descr *d = PyArray_DescrFromScalar(o);
    if (d) {
        *kind = d->kind;
        *itemsize = (uint64_t)PyDataType_ELSIZE(d);
        if (n_known < 32 && PyArray_IsScalar(o, Number) && *itemsize < 256) {
            known[n_known].type = (PyTypeObject *)Py_NewRef(Py_TYPE(o));
            known[n_known].kind = (char)*kind;
            known[n_known++].itemsize = (uint8_t)*itemsize;
        }
        Py_DECREF(d);
    }
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    return d != NULL;
}

/* A tuple or list: how many Python numbers it holds, and of which kind, where it holds nothing else. */
static void add_sequence(signature_key *k, PyObject **items, Py_ssize_t n) {
    static const struct { char kind; uint8_t itemsize; } kinds[] = {{'b', 1}, {'i', 8}, {'f', 8}, {'c', 16}};
    int widest = n ? 0 : 2; /* an empty one becomes an array of floats */
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *o = items[i];
        int of = PyLong_CheckExact(o) ? 1 : PyFloat_CheckExact(o) ? 2 : PyBool_Check(o) ? 0 : PyComplex_CheckExact(o) ? 3 : -1;
        if (of < 0) { add_bare(k, LAYOUT_OTHER, 'O', 0); return; }
        if (of > widest) widest = of;
    }
    if (count(k) == MAX_OPERANDS) { k->left_out = 1; return; }
    k->arrays[count(k)] = NULL;
    k->words[k->used++] = head(1, LAYOUT_OTHER, NO_ALIAS, kinds[widest].kind, kinds[widest].itemsize);
    k->words[k->used++] = (uint64_t)n;
}

/* An operand of any kind. Sequences count as their arrays, one level deep. 0 = it is no operand. */
static int add_operand(signature_key *k, PyObject *o, int scalars) {
    int kind;
    uint64_t itemsize;
    if (PyArray_Check(o)) { add_array(k, (PyArrayObject *)o); return 1; }
    if (PyFloat_CheckExact(o) || PyLong_CheckExact(o) || PyBool_Check(o) || PyComplex_CheckExact(o)) {
        if (!scalars) return 0;
        if (PyFloat_CheckExact(o)) add_bare(k, LAYOUT_PYTHON_SCALAR, 'f', 8);
        else if (PyBool_Check(o)) add_bare(k, LAYOUT_PYTHON_SCALAR, 'b', 1);
        else if (PyLong_CheckExact(o)) add_bare(k, LAYOUT_PYTHON_SCALAR, 'i', 8);
        else add_bare(k, LAYOUT_PYTHON_SCALAR, 'c', 16);
        return 1;
    }
    if (o == Py_None || PyUnicode_Check(o) || PyType_Check(o)) return 0;
    if (scalar_of(o, &kind, &itemsize)) { if (scalars) add_bare(k, LAYOUT_NUMPY_SCALAR, kind, itemsize); return scalars; }
    if (PyTuple_CheckExact(o) || PyList_CheckExact(o)) {
        Py_ssize_t n = Py_SIZE(o);
        PyObject **items = PySequence_Fast_ITEMS(o);
        int found = 0;
        for (Py_ssize_t i = 0; i < n; i++) {
            if (PyArray_Check(items[i])) { found = 1; break; }
            if (i > MAX_OPERANDS) break;
        }
        if (found) {
            for (Py_ssize_t i = 0; i < n; i++) {
                if (!PyArray_Check(items[i])) continue;
                if (count(k) >= MAX_INPUTS) { k->left_out = 1; break; }
                add_array(k, (PyArrayObject *)items[i]);
                k->n_in++;
            }
            return 0;
        }
        if (scalars) add_sequence(k, items, n);
        return scalars;
    }
    if (scalars) add_bare(k, LAYOUT_OTHER, 'O', 0);
    return scalars;
}

static void add_input(signature_key *k, PyObject *o, int scalars) {
    if (count(k) >= MAX_INPUTS) { k->left_out = 1; return; }
    if (add_operand(k, o, scalars)) k->n_in++;
}

static void add_output(signature_key *k, PyObject *o) {
    if (!o || o == Py_None || count(k) == MAX_OPERANDS) return;
    int kind;
    uint64_t itemsize;
    if (PyArray_Check(o)) {
        for (uint32_t i = k->n_in; i < count(k); i++) if (k->arrays[i] == (PyArrayObject *)o) return;
        add_array(k, (PyArrayObject *)o);
        k->n_out++;
    } else if (scalar_of(o, &kind, &itemsize)) {
        add_bare(k, LAYOUT_NUMPY_SCALAR, kind, itemsize);
        k->n_out++;
    } else if (PyTuple_Check(o)) {
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(o) && i < 4; i++) add_output(k, PyTuple_GET_ITEM(o, i));
    }
}

/* ---- attributes: text, ";" between ---- */
static void attribute_text(signature_key *k, const char *text, size_t n) {
    size_t room = MAX_ATTRIBUTE_BYTES - k->attribute_bytes;
    if (n > room) n = room;
    memcpy(k->attributes + k->attribute_bytes, text, n);
    k->attribute_bytes += (uint32_t)n;
}
static int integer(PyObject *o, long long *value) {
    int overflow = 0;
    if (!PyLong_Check(o)) return 0;
    *value = PyLong_AsLongLongAndOverflow(o, &overflow);
    return !overflow;
}
/* In decimal; returns the length, 20 at most. printf would take longer than everything else of a record. */
static int decimal(char *text, long long value) {
    char reversed[20];
    int n = 0, length = 0;
    unsigned long long left = value < 0 ? 0 - (unsigned long long)value : (unsigned long long)value;
    do reversed[n++] = (char)('0' + left % 10); while (left /= 10);
    if (value < 0) text[length++] = '-';
    while (n) text[length++] = reversed[--n];
    return length;
}
/* A sequence of integers, or of such sequences (axes=[(0,), (), (0,)]), as a tuple; 0 = it is neither, or too long. */
static int integers_text(char *text, size_t room, PyObject *o, int deeper) {
    Py_ssize_t items = Py_SIZE(o);
    long long value;
    int n = 0;
    if (items > 8 || room < 24) return 0;
    text[n++] = '(';
    for (Py_ssize_t i = 0; i < items; i++) {
        PyObject *item = PySequence_Fast_ITEMS(o)[i];
        if (i) { text[n++] = ','; text[n++] = ' '; }
        if (integer(item, &value)) n += decimal(text + n, value);
        else if (deeper && (PyTuple_CheckExact(item) || PyList_CheckExact(item))) {
            int inner = integers_text(text + n, room - (size_t)n, item, 0);
            if (!inner) return 0;
            n += inner;
        } else return 0;
        if ((size_t)n + 32 > room) return 0;
    }
    if (items == 1) text[n++] = ',';
    text[n++] = ')';
    return n;
}
/* As Python's repr says it; strings bare. Nothing for what does not decide a count (None, bools, floats, objects, arrays). */
static void attribute(signature_key *k, PyObject *name, PyObject *o) {
    char text[MAX_ATTRIBUTE_BYTES + 64];
    long long value;
    Py_ssize_t size;
    int n = 0;
    const char *string = text;
    if (o == Py_None || PyBool_Check(o)) return;
    if (integer(o, &value)) n = decimal(text, value);
    else if (PyUnicode_Check(o)) {
        if (!PyUnicode_IS_READY(o) || !PyUnicode_IS_ASCII(o)) return;
        string = PyUnicode_AsUTF8AndSize(o, &size);
        n = (int)(size < MAX_ATTRIBUTE_BYTES ? size : MAX_ATTRIBUTE_BYTES);
    } else if (PyTuple_CheckExact(o) || PyList_CheckExact(o)) {
        n = integers_text(text, sizeof text, o, 1);
        if (!n) return;
    } else return;
    if (k->attribute_bytes) attribute_text(k, ";", 1);
    if (name && PyUnicode_IS_ASCII(name)) {
        const char *key = PyUnicode_AsUTF8AndSize(name, &size);
        attribute_text(k, key, (size_t)size);
        attribute_text(k, "=", 1);
    }
    attribute_text(k, string, (size_t)n);
}
static void exponent(signature_key *k, PyObject *o) {
    char text[32];
    long long value;
    int n;
    if (integer(o, &value)) n = decimal(text, value);
    else if (PyFloat_CheckExact(o)) {
        double real = PyFloat_AS_DOUBLE(o);
        if (real > -1e15 && real < 1e15 && real != 0 && real == (double)(long long)real) n = decimal(text, (long long)real);
        else n = snprintf(text, sizeof text, "%.17g", real);
    } else return;
    attribute_text(k, "exponent=", 9);
    attribute_text(k, text, (size_t)n);
}

static inline int is_out(PyObject *name) {
    return PyUnicode_GET_LENGTH(name) == 3 && PyUnicode_CompareWithASCIIString(name, "out") == 0;
}

static uint32_t finish(signature_key *k, uint32_t op, call_hint *hint) {
    if (k->left_out) {
        if (k->attribute_bytes == MAX_ATTRIBUTE_BYTES) k->attribute_bytes--;
        memmove(k->attributes + 1, k->attributes, k->attribute_bytes++);
        k->attributes[0] = '+';
    }
    k->words[0] = (uint64_t)op | (uint64_t)k->n_in << 32 | (uint64_t)k->n_out << 40 | (uint64_t)k->attribute_bytes << 48;
    if (k->attribute_bytes) {
        uint32_t words = (k->attribute_bytes + 7) / 8;
        memset(k->words + k->used, 0, words * 8);
        memcpy(k->words + k->used, k->attributes, k->attribute_bytes);
        k->used += words;
    }
    return signature_id(k->words, k->used, hint ? &hint->signature : NULL);
}

/* ---- ordinary calls: those that `same_as_last` (operands.h) can recognise ---- */
/* NumPy's own dtypes live as long as the process: their addresses say what they are. References to others would be seen by programs that
   count them. */
static int is_builtin(PyArray_Descr *d) {
    if (d->type_num < 0 || d->type_num >= NPY_OBJECT) return 0;
    PyArray_Descr *own = PyArray_DescrFromType(d->type_num);
    Py_XDECREF(own);
    return own == d;
}

/* What `same_as_last` compares the next call with. */
static void remember(const op_call *c, PyObject *result) {
    call_hint *h = c->hint;
    int n = c->n_in;
    h->ordinary = 0;
    if (!result || c->policy & ~(uint32_t)POLICY_ATTRIBUTES || c->kwnames || n < 1 || n >= ORDINARY_OPERANDS || !h->signature.key) return;
    if (c->n_args != n && (c->n_args != n + 1 || c->args[n] != result)) return;
    for (int i = 0; i <= n; i++) {
        operand_hint *x = &h->operands[i];
        PyObject *o = i < n ? c->args[i] : result;
        if (Py_IS_TYPE(o, &PyArray_Type)) {
            PyArrayObject *a = (PyArrayObject *)o;
            if (!is_builtin(PyArray_DESCR(a))) return;
            *x = (operand_hint){PyArray_DESCR(a), PyArray_NDIM(a), PyArray_FLAGS(a) & CONTIGUITY, -1};
            for (int k = 0; k < i && x->alias < 0; k++) {
                PyObject *before = c->args[k];
                if (before == o) x->alias = k;
                else if (Py_IS_TYPE(before, &PyArray_Type) && PyArray_DATA((PyArrayObject *)before) == PyArray_DATA(a)) return;
            }
        } else if (i < n && PyFloat_CheckExact(o)) x->ndim = A_FLOAT;
        else if (i < n && PyLong_CheckExact(o) && !c->policy) x->ndim = AN_INT; /* else an int may be an attribute */
        else return;
    }
    uint64_t with_operands = (uint64_t)c->op | (uint64_t)n << 32; /* op and inputs of the key: where signatures ran out it has no operands */
    h->ordinary = (h->signature.key[0] & 0xFFFFFFFFFFull) == with_operands;
}

uint32_t operands_signature(const op_call *c, PyObject *result) {
    signature_key k;
    k.used = 1;
    k.n_in = k.n_out = k.attribute_bytes = 0;
    k.left_out = 0;
    int scalars = c->n_in >= 0;
    PyObject *out = NULL;
    if (c->self) add_input(&k, c->self, 0);
    Py_ssize_t n_in = scalars && c->n_in < c->n_args ? c->n_in : c->n_args;
    for (Py_ssize_t i = 0; i < n_in; i++) {
        int alone = !i && c->policy & POLICY_FIRST_IS_OPERAND;
        add_input(&k, c->args[i], scalars || alone);
        if (c->policy & POLICY_ATTRIBUTES && !alone) attribute(&k, NULL, c->args[i]);
    }
    if (c->policy & POLICY_EXPONENT && c->n_args > 1) exponent(&k, c->args[1]);
    Py_ssize_t n_keywords = c->kwnames ? PyTuple_GET_SIZE(c->kwnames) : 0;
    for (Py_ssize_t i = 0; i < n_keywords; i++) {
        PyObject *name = PyTuple_GET_ITEM(c->kwnames, i), *value = c->args[c->n_args + i];
        if (is_out(name)) { out = value; continue; }
        if (PyArray_Check(value)) add_input(&k, value, 0);
        else if (c->policy & POLICY_ATTRIBUTES) attribute(&k, name, value);
    }
    PyObject *name, *value;
    for (Py_ssize_t at = 0; c->kwargs && PyDict_Next(c->kwargs, &at, &name, &value);) {
        if (is_out(name)) { out = value; continue; }
        if (PyArray_Check(value)) add_input(&k, value, 0);
        else if (c->policy & POLICY_ATTRIBUTES) attribute(&k, name, value);
    }
    if (result) add_output(&k, result);
    if (out) add_output(&k, out);
    for (Py_ssize_t i = n_in; i < c->n_args; i++) add_output(&k, c->args[i]);
    if (c->policy & POLICY_WRITES_SELF && c->self) add_output(&k, c->self);
    for (Py_ssize_t i = 0; c->policy & POLICY_WRITES_FIRST_ARGUMENT && i < c->n_args && i < 2; i++)
        if (PyArray_Check(c->args[i])) { add_output(&k, c->args[i]); break; } /* behind the generator, for its methods */
    uint32_t id = finish(&k, c->op, c->hint);
    remember(c, result);
    return id;
}

/* ---- views ---- */
static PyObject *root(PyObject *o) {
    while (PyArray_Check(o) && PyArray_BASE((PyArrayObject *)o)) o = PyArray_BASE((PyArrayObject *)o);
    return o;
}
/* Whether the result lies in memory that was there before: an argument's, a foreign object's (a buffer), or that of an array which
   an object handed over (`__array__`) and something else still holds; or is no array at all made of none. Nothing was copied. */
int shares_memory(const op_call *c, PyObject *result) {
    if (!PyArray_Check(result)) return c->self == NULL;
    PyObject *home = root(result);
    return !PyArray_Check(home) || !PyArray_CHKFLAGS((PyArrayObject *)home, NPY_ARRAY_OWNDATA) || Py_REFCNT(home) > 1 || Py_REFCNT(result) > 1;
}

/* ---- assignments ---- */
/* Whether the value is the selected part itself: `a[i] += b` takes a view, adds, and assigns the view to where it lies. NumPy finds
   that nothing is left to copy, by the same comparison. */
static int is_the_part(const selection *s, PyArrayObject *a, PyObject *value) {
    if (!s->data || !PyArray_Check(value)) return 0;
    PyArrayObject *v = (PyArrayObject *)value;
    if (PyArray_DATA(v) != s->data || PyArray_DESCR(v) != PyArray_DESCR(a) || PyArray_NDIM(v) != s->ndim) return 0;
    npy_intp differ = 0;
    for (int i = 0; i < s->ndim; i++) differ |= (PyArray_DIM(v, i) ^ s->shape[i]) | (PyArray_STRIDE(v, i) ^ s->strides[i]);
    return !differ;
}

/* How a part lies in memory, as NumPy's flags of a view of it would say. What index arrays pick has no strides, and counts as if dense. */
static int layout_of(const selection *s, npy_intp itemsize) {
    npy_intp rows = itemsize, columns = itemsize;
    int c = 1, f = 1;
    if (!s->data) return LAYOUT_C;
    for (int i = 0; i < s->ndim; i++) {
        int j = s->ndim - 1 - i;
        if (!s->shape[i]) return LAYOUT_C;
        c &= s->shape[j] == 1 || s->strides[j] == rows;
        f &= s->shape[i] == 1 || s->strides[i] == columns;
        rows *= s->shape[j];
        columns *= s->shape[i];
    }
    return c ? LAYOUT_C : f ? LAYOUT_F : LAYOUT_STRIDED;
}

/* Inputs: the value where it is an array, then index arrays. Output: the part that was written (OTHER: size not known), the same as the
   value where it is. */
uint32_t assignment_signature(uint32_t op, PyObject *array, PyObject *key, PyObject *value, call_hint *hint) {
    signature_key k;
    k.used = 1;
    k.n_in = k.n_out = k.attribute_bytes = 0;
    k.left_out = 0;
    PyArrayObject *a = (PyArrayObject *)array;
    selection part;
    if (PyErr_Occurred()) return finish(&k, op, NULL); /* it failed: nothing was written */
    add_input(&k, value, 1);
    int known = selected(a, key, &part);
    Py_ssize_t n = PyTuple_Check(key) ? PyTuple_GET_SIZE(key) : 1;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *o = PyTuple_Check(key) ? PyTuple_GET_ITEM(key, i) : key;
        if (PyArray_Check(o)) add_input(&k, o, 0);
    }
    if (count(&k) < MAX_OPERANDS) {
        if (!known) add_bare(&k, LAYOUT_OTHER, PyArray_DESCR(a)->kind, (uint64_t)PyArray_ITEMSIZE(a));
        else {
            int alias = is_the_part(&part, a, value) ? 0 : NO_ALIAS, layout = layout_of(&part, PyArray_ITEMSIZE(a));
            int swapped = PyArray_DESCR(a)->byteorder == NPY_OPPBYTE ? LAYOUT_SWAPPED : 0;
            k.words[k.used++] = head(part.ndim, layout | swapped, alias, PyArray_DESCR(a)->kind, (uint64_t)PyArray_ITEMSIZE(a));
            for (int i = 0; i < part.ndim; i++) k.words[k.used++] = (uint64_t)part.shape[i];
            for (int i = 0; layout == LAYOUT_STRIDED && i < part.ndim; i++) k.words[k.used++] = (uint64_t)part.strides[i];
        }
        k.n_out++;
    }
    return finish(&k, op, hint);
}
