/* The span lines of the trace JSON: rendered from columns, and parsed back into them.
 *
 * `tinytrace/analysis/chrome_lines.py` holds the same three functions in Python and says
 * what they mean; the tests hold the two together, byte for byte.
 */
#include "json.h"

#define KEY "\"\":"
#define KEY_OF_VERSION_1 "\"k\":"
#define MAX_TIME_DIGITS 15 /* of whole microseconds: the sum of two times stays far below 2**63 ns */
#define MAX_ID_DIGITS 9

/* A contiguous buffer of items of this size; -1 and an exception if it is not. */
static int
get_column(PyObject *object, Py_buffer *view, Py_ssize_t itemsize, Py_ssize_t *count)
{
    if (PyObject_GetBuffer(object, view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    Py_ssize_t n = view->len / itemsize;
    if (view->len % itemsize || (*count >= 0 && n != *count)) {
        PyErr_SetString(PyExc_ValueError, "columns differ in length or item size");
        PyBuffer_Release(view);
        return -1;
    }
    *count = n;
    return 0;
}

int
json_columns(PyObject *const *objects, Py_buffer *views, const Py_ssize_t *sizes, int n, Py_ssize_t *count)
{
    *count = -1;
    for (int i = 0; i < n; i++) {
        if (get_column(objects[i], &views[i], sizes[i], count) < 0) {
            while (i--) {
                PyBuffer_Release(&views[i]);
            }
            return -1;
        }
    }
    return 0;
}

void
json_release(Py_buffer *views, int n)
{
    for (int i = 0; i < n; i++) {
        PyBuffer_Release(&views[i]);
    }
}

Py_ssize_t
json_bound(PyObject *rests, const Py_buffer *v, Py_ssize_t rows)
{
    Py_ssize_t bound = 0, n_rests = PySequence_Fast_GET_SIZE(rests);
    for (Py_ssize_t i = 0; i < n_rests; i++) {
        if (!PyBytes_Check(PySequence_Fast_GET_ITEM(rests, i))) {
            PyErr_SetString(PyExc_TypeError, "the rests of the lines must be bytes");
            return -1;
        }
    }
    for (Py_ssize_t row = 0; row < rows; row++) {
        int32_t key = i32_at(&v[2], row);
        if (key < 0 || key >= n_rests || i64_at(&v[0], row) < 0 || i64_at(&v[1], row) < 0) {
            PyErr_Format(PyExc_ValueError, "row %zd: no such key, or a negative time", row);
            return -1;
        }
        bound += (Py_ssize_t)MAX_START + PyBytes_GET_SIZE(PySequence_Fast_GET_ITEM(rests, key));
    }
    return bound;
}

static PyObject *
json_render(PyObject *self, PyObject *const *args, Py_ssize_t n_args)
{
    static const Py_ssize_t sizes[] = {8, 8, 4, 4};
    Py_buffer v[4];
    Py_ssize_t rows;
    if (n_args != 5 || !PyList_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "json_render(rests: list, start_ns, dur_ns, key, step)");
        return NULL;
    }
    if (json_columns(args + 1, v, sizes, 4, &rows) < 0) {
        return NULL;
    }
    PyObject *text = NULL;
    Py_ssize_t bound = json_bound(args[0], v, rows);
    if (bound >= 0 && (text = PyBytes_FromStringAndSize(NULL, bound)) != NULL) {
        char *p = PyBytes_AS_STRING(text);
        for (Py_ssize_t row = 0; row < rows; row++) {
            PyObject *rest = PyList_GET_ITEM(args[0], i32_at(&v[2], row));
            p = put_line(p, i64_at(&v[0], row), i64_at(&v[1], row), i32_at(&v[3], row),
                         PyBytes_AS_STRING(rest), (size_t)PyBytes_GET_SIZE(rest));
        }
        _PyBytes_Resize(&text, p - PyBytes_AS_STRING(text));
    }
    json_release(v, 4);
    return text;
}

/* ---- parsing: p never passes end ---------------------------------------------------------------- */

static int
take_text(const char **p, const char *end, const char *text, size_t n)
{
    if ((size_t)(end - *p) < n || memcmp(*p, text, n)) {
        return 0;
    }
    *p += n;
    return 1;
}

static int
take_digits(const char **p, const char *end, int max_digits, int64_t *value)
{
    int n = 0;
    int64_t v = 0;
    const char *q = *p;
    while (q < end && *q >= '0' && *q <= '9') {
        if (++n > max_digits) {
            return 0;
        }
        v = v * 10 + (*q++ - '0');
    }
    *p = q;
    *value = v;
    return n;
}

static int
take_time(const char **p, const char *end, int64_t *ns)
{
    int64_t whole, part;
    if (!take_digits(p, end, MAX_TIME_DIGITS, &whole) || !take_text(p, end, ".", 1)
        || take_digits(p, end, 3, &part) != 3) {
        return 0;
    }
    *ns = whole * 1000 + part;
    return 1;
}

typedef struct {
    int64_t start_ns, dur_ns, key, step;
} Row;

/* One line without its end; 0 = it is something else, or broken. */
static int
take_line(const char *p, const char *end, Row *row)
{
    row->step = -1;
    if (!take_text(&p, end, HEAD, LEN(HEAD)) || !take_time(&p, end, &row->start_ns)
        || !take_text(&p, end, DUR, LEN(DUR)) || !take_time(&p, end, &row->dur_ns)
        || !take_text(&p, end, ARGS, LEN(ARGS))) {
        return 0;
    }
    if (take_text(&p, end, STEP, LEN(STEP))
        && (!take_digits(&p, end, MAX_ID_DIGITS, &row->step) || !take_text(&p, end, ",", 1))) {
        return 0;
    }
    if ((!take_text(&p, end, KEY, LEN(KEY)) && !take_text(&p, end, KEY_OF_VERSION_1, LEN(KEY_OF_VERSION_1)))
        || !take_digits(&p, end, MAX_ID_DIGITS, &row->key)) {
        return 0;
    }
    if (end > p && end[-1] == ',') {
        end--;
    }
    return end - p >= 2 && (*p == ',' || *p == '}') && end[-1] == '}';
}

static int
starts_with_any(const char *p, const char *end, PyObject *skips)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(skips); i++) {
        PyObject *skip = PyTuple_GET_ITEM(skips, i);
        if (take_text(&p, end, PyBytes_AS_STRING(skip), (size_t)PyBytes_GET_SIZE(skip))) {
            return 1;
        }
    }
    return 0;
}

typedef struct {
    char *data;
    size_t used, room;
} Bytes;

static int
append(Bytes *bytes, const void *data, size_t n)
{
    if (bytes->used + n > bytes->room) {
        size_t room = bytes->room ? bytes->room * 2 : 4096;
        char *bigger = PyMem_Realloc(bytes->data, room);
        if (bigger == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        bytes->data = bigger;
        bytes->room = room;
    }
    memcpy(bytes->data + bytes->used, data, n);
    bytes->used += n;
    return 0;
}

static int
parse_lines(const char *text, Py_ssize_t n, PyObject *skips, Bytes *rows, Bytes *others)
{
    const char *p = text, *all = text + n;
    while (p < all) {
        const char *newline = memchr(p, '\n', (size_t)(all - p));
        const char *end = newline ? newline : all;
        Row row;
        if (take_line(p, end, &row)) {
            if (append(rows, &row, sizeof row) < 0) {
                return -1;
            }
        }
        else if (end > p && !starts_with_any(p, end, skips)) {
            int64_t other[3] = {p - text, end - text, (int64_t)(rows->used / sizeof row)};
            if (append(others, other, sizeof other) < 0) {
                return -1;
            }
        }
        p = newline ? newline + 1 : all;
    }
    return 0;
}

static PyObject *
json_parse(PyObject *self, PyObject *const *args, Py_ssize_t n_args)
{
    Py_buffer view;
    if (n_args != 2 || !PyTuple_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "json_parse(text, skips: tuple)");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args[1]); i++) {
        if (!PyBytes_Check(PyTuple_GET_ITEM(args[1], i))) {
            PyErr_SetString(PyExc_TypeError, "the starts of lines to skip must be bytes");
            return NULL;
        }
    }
    if (PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    Bytes rows = {0}, others = {0};
    PyObject *result = NULL;
    if (parse_lines(view.buf, view.len, args[1], &rows, &others) == 0) {
        result = Py_BuildValue("y#y#", rows.data ? rows.data : "", (Py_ssize_t)rows.used,
                               others.data ? others.data : "", (Py_ssize_t)others.used);
    }
    PyMem_Free(rows.data);
    PyMem_Free(others.data);
    PyBuffer_Release(&view);
    return result;
}

/* ---- nesting ------------------------------------------------------------------------------------ */

typedef struct {
    int64_t start_ns, end_ns;
    int32_t row;
} Open;

static int
nest(const Py_buffer *v, Py_ssize_t rows, int32_t *parent, uint8_t *fits, Bytes *stack)
{
    const uint8_t *apart = v[3].buf;
    for (Py_ssize_t row = 0; row < rows; row++) {
        int64_t start_ns = i64_at(&v[1], row);
        int64_t end_ns = (int64_t)((uint64_t)start_ns + (uint64_t)i64_at(&v[2], row));
        if (row && i32_at(&v[0], row) != i32_at(&v[0], row - 1)) {
            stack->used = 0;
        }
        Open top;
        int nested = 0;
        while (stack->used) {
            memcpy(&top, stack->data + stack->used - sizeof top, sizeof top);
            if (top.end_ns > start_ns) {
                nested = 1;
                break;
            }
            stack->used -= sizeof top;
        }
        parent[row] = nested ? top.row : -1;
        fits[row] = !apart[row] && end_ns >= start_ns
                    && (!nested || (start_ns >= top.start_ns && end_ns <= top.end_ns));
        if (fits[row]) {
            Open open = {start_ns, end_ns, (int32_t)row};
            if (append(stack, &open, sizeof open) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

static PyObject *
json_nest(PyObject *self, PyObject *const *args, Py_ssize_t n_args)
{
    static const Py_ssize_t sizes[] = {4, 8, 8, 1};
    Py_buffer v[4];
    Py_ssize_t rows;
    if (n_args != 4) {
        PyErr_SetString(PyExc_TypeError, "json_nest(thread, start_ns, dur_ns, apart)");
        return NULL;
    }
    if (json_columns(args, v, sizes, 4, &rows) < 0) {
        return NULL;
    }
    Bytes stack = {0};
    PyObject *result = NULL;
    PyObject *parent = PyBytes_FromStringAndSize(NULL, rows * 4);
    PyObject *fits = PyBytes_FromStringAndSize(NULL, rows);
    if (rows > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "too many rows");
    }
    else if (parent && fits
             && nest(v, rows, (int32_t *)PyBytes_AS_STRING(parent),
                     (uint8_t *)PyBytes_AS_STRING(fits), &stack) == 0) {
        result = PyTuple_Pack(2, parent, fits);
    }
    Py_XDECREF(parent);
    Py_XDECREF(fits);
    PyMem_Free(stack.data);
    json_release(v, 4);
    return result;
}

PyMethodDef tt_json_methods[] = {
    {"json_render", (PyCFunction)(void (*)(void))json_render, METH_FASTCALL,
     "json_render(rests, start_ns, dur_ns, key, step) -> bytes"},
    {"json_parse", (PyCFunction)(void (*)(void))json_parse, METH_FASTCALL,
     "json_parse(text, skips) -> (rows, others)"},
    {"json_nest", (PyCFunction)(void (*)(void))json_nest, METH_FASTCALL,
     "json_nest(thread, start_ns, dur_ns, apart) -> (parent, fits)"},
    {NULL, NULL, 0, NULL},
};
