/* tinytrace.tracer._native: the compiled recorder, with the interface of `Recorder` in protocol.py. */
#include "hooks.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

static PyObject *ops, *labels, *series; /* interned names → id; reset with each recording */
static size_t name_bytes;               /* of them; beyond the cap further names are one name */

static PyObject *record_open(PyObject *module, PyObject *args) {
    PyObject *folder;
    unsigned long long limit;
    if (!PyArg_ParseTuple(args, "O&K", PyUnicode_FSConverter, &folder, &limit)) return NULL;
    if (rec.tables_fd >= 0) {
        Py_DECREF(folder);
        PyErr_SetString(PyExc_RuntimeError, "already recording");
        return NULL;
    }
    if (limit < MIN_DISK_LIMIT_BYTES) {
        Py_DECREF(folder);
        return PyErr_Format(PyExc_ValueError, "the disk limit must be at least %d bytes, not %llu", MIN_DISK_LIMIT_BYTES, limit);
    }
    int failed = store_open(PyBytes_AS_STRING(folder), limit);
    int error = errno;
    if (!failed) {
        name_bytes = 0;
        Py_XSETREF(ops, PyDict_New());
        Py_XSETREF(labels, PyDict_New());
        Py_XSETREF(series, PyDict_New());
        failed = !ops || !labels || !series;
    } else {
        errno = error;
        PyErr_SetFromErrnoWithFilename(PyExc_OSError, PyBytes_AS_STRING(folder));
    }
    Py_DECREF(folder);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

static PyObject *record_close(PyObject *module, PyObject *unused) {
    store_close();
    Py_RETURN_NONE;
}

static PyObject *record_stats(PyObject *module, PyObject *unused) {
    return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:i,s:I}", "spans", rec.spans, "dropped", rec.dropped, "skipped_elements", rec.skipped_elements,
                         "folded_spans", rec.folded_spans, "folded_segments", rec.folded_segments, "folded_samples", rec.folded_samples,
                         "folded_counters", rec.folded_counters, "folded_flows", rec.folded_flows, "names_left_out", rec.names_left_out, "sites_left_out", rec.sites_left_out,
                         "signatures_left_out", rec.signatures_left_out, "stacks_left_out", rec.stacks_left_out, "errno", rec.error, "threads", rec.n_threads);
}

/* The clock of spans between two readings of the system's. */
static PyObject *record_clock(PyObject *module, PyObject *unused) {
    uint64_t before = now_ns(), span = span_now_ns(), after = now_ns();
    return Py_BuildValue("KKKi", before, span, after, span_clock.on);
}

static PyObject *record_put(PyObject *module, PyObject *args) {
    int entry;
    Py_buffer payload;
    if (!PyArg_ParseTuple(args, "iy*", &entry, &payload)) return NULL;
    store_put(entry, payload.buf, (size_t)payload.len, NULL, 0);
    PyBuffer_Release(&payload);
    Py_RETURN_NONE;
}

/* The id of `key` in `ids`; a new one is written as `entry`: id, [size of the first text,] first text, second text. */
static PyObject *intern(PyObject *ids, int entry, PyObject *key, PyObject *first, PyObject *second) {
    if (!ids) return PyLong_FromLong(0);
    PyObject *id = PyDict_GetItemWithError(ids, key);
    if (id || PyErr_Occurred()) return Py_XNewRef(id);
    PyObject *a = PyUnicode_AsEncodedString(first, "utf-8", "surrogatepass");
    PyObject *b = second ? PyUnicode_AsEncodedString(second, "utf-8", "surrogatepass") : PyBytes_FromStringAndSize("", 0);
    id = PyLong_FromSsize_t(PyDict_GET_SIZE(ids) + 1);
    if (!a || !b || !id || PyDict_SetItem(ids, key, id) < 0) {
        Py_CLEAR(id);
    } else {
        name_bytes += (size_t)(PyBytes_GET_SIZE(a) + PyBytes_GET_SIZE(b));
        uint32_t numbers[2] = {(uint32_t)PyDict_GET_SIZE(ids), (uint32_t)PyBytes_GET_SIZE(a)};
        size_t head = second ? 8 : 4, size = head + (size_t)PyBytes_GET_SIZE(a);
        char *text = malloc(size);
        if (text) {
            memcpy(text, numbers, head);
            memcpy(text + head, PyBytes_AS_STRING(a), (size_t)PyBytes_GET_SIZE(a));
            store_put(entry, text, size, PyBytes_AS_STRING(b), (size_t)PyBytes_GET_SIZE(b));
            free(text);
        }
    }
    Py_XDECREF(a);
    Py_XDECREF(b);
    return id;
}
/* Beyond the limit, what is not known is a name that stands for all further ones; a series is none. */
static PyObject *intern_bounded(PyObject *ids, int entry, PyObject *key, PyObject *first, PyObject *second) {
    uint64_t most_bytes = 16 + 4 * (uint64_t)(PyUnicode_GET_LENGTH(first) + (second ? PyUnicode_GET_LENGTH(second) : 0));
    int full = name_bytes > caps.name_bytes || tables_full(most_bytes);
    if (!ids || !full || PyDict_Contains(ids, key)) return intern(ids, entry, key, first, second);
    rec.names_left_out++;
    if (entry == ENTRY_SERIES) return PyLong_FromLong(0);
    PyObject *others = second ? Py_BuildValue("ss", "(further names)", "") : PyUnicode_FromString("(further names)");
    if (!others) return NULL;
    PyObject *id = second ? intern(ids, entry, others, PyTuple_GET_ITEM(others, 0), PyTuple_GET_ITEM(others, 1)) : intern(ids, entry, others, others, NULL);
    Py_DECREF(others);
    return id;
}
static PyObject *record_op(PyObject *module, PyObject *name) {
    if (!PyUnicode_Check(name)) { PyErr_SetString(PyExc_TypeError, "a str"); return NULL; }
    return intern_bounded(ops, ENTRY_OP, name, name, NULL);
}
PyObject *tt_record_op(PyObject *name) { return record_op(NULL, name); }
static PyObject *intern_pair(PyObject *ids, int entry, PyObject *args) {
    PyObject *first, *second;
    if (!PyArg_ParseTuple(args, "UU", &first, &second)) return NULL;
    return intern_bounded(ids, entry, args, first, second);
}
static PyObject *record_label(PyObject *module, PyObject *args) { return intern_pair(labels, ENTRY_LABEL, args); }
static PyObject *record_series(PyObject *module, PyObject *args) { return intern_pair(series, ENTRY_SERIES, args); }

static PyObject *record_begin(PyObject *module, PyObject *args) {
    unsigned int kind, what;
    if (!PyArg_ParseTuple(args, "II", &kind, &what)) return NULL;
    thread_state *t = rec.active ? thread_current() : NULL;
    site_hint hint = {NULL, 0, 0};
    uint32_t site = t ? site_of_caller(&hint) : 0;
    open_span *o = t ? span_begin(t, (int)kind, what, site, span_now_ns()) : NULL;
    return PyLong_FromUnsignedLongLong(o ? TOKEN(t, o->index) + 1 : 0); /* 0 = not recorded */
}
static PyObject *record_end(PyObject *module, PyObject *args) {
    unsigned long long token;
    unsigned int flags;
    if (!PyArg_ParseTuple(args, "KI", &token, &flags)) return NULL;
    if (token && rec.active) span_end_token(token - 1, (int)flags);
    Py_RETURN_NONE;
}
/* What an open span is, told when more is known of it; (call site, start). */
static PyObject *record_become(PyObject *module, PyObject *args) {
    unsigned long long token;
    unsigned int kind, what;
    if (!PyArg_ParseTuple(args, "KII", &token, &kind, &what)) return NULL;
    span_record *r = token && rec.active ? span_of_token(token - 1) : NULL;
    if (!r) return Py_BuildValue("IK", 0u, 0ull);
    r->kind = (uint8_t)kind;
    r->what = what;
    return Py_BuildValue("IK", r->site, (unsigned long long)r->start_ns);
}
/* Begin a span of this thread, for another place and since an earlier moment, which is after the end of the one before. */
static PyObject *record_begin_at(PyObject *module, PyObject *args) {
    unsigned int kind, what, site;
    unsigned long long start_ns;
    if (!PyArg_ParseTuple(args, "IIIK", &kind, &what, &site, &start_ns)) return NULL;
    thread_state *t = rec.active ? thread_current() : NULL;
    open_span *o = t ? span_begin(t, (int)kind, what, site, start_ns) : NULL;
    return PyLong_FromUnsignedLongLong(o ? TOKEN(t, o->index) + 1 : 0);
}
static PyObject *record_instant(PyObject *module, PyObject *label) {
    unsigned long what = PyLong_AsUnsignedLong(label);
    if (what == (unsigned long)-1 && PyErr_Occurred()) return NULL;
    thread_state *t = rec.active ? thread_current() : NULL;
    site_hint hint = {NULL, 0, 0};
    uint32_t site = t ? site_of_caller(&hint) : 0;
    uint64_t at = span_now_ns();
    open_span *o = t ? span_begin(t, KIND_INSTANT, (uint32_t)what, site, at) : NULL;
    if (o) span_end(t, o->record, at, 0);
    Py_RETURN_NONE;
}
static PyObject *record_counter(PyObject *module, PyObject *args) {
    unsigned int id;
    double value;
    unsigned long long t_ns = 0;
    if (!PyArg_ParseTuple(args, "Id|K", &id, &value, &t_ns)) return NULL;
    counter_record *r = rec.active && id ? writer_next(&rec.counters) : NULL;
    if (r) {
        *r = (counter_record){0, value, id, 0, 0};
        record_time(&r->t_ns, t_ns ? t_ns : now_ns());
    } else if (rec.active && id) {
        rec.dropped++;
    }
    Py_RETURN_NONE;
}

static PyObject *record_flow(PyObject *module, PyObject *const *args, Py_ssize_t n) {
    if (n != 3) { PyErr_SetString(PyExc_TypeError, "flow(source, target, label)"); return NULL; }
    uint64_t source = PyLong_AsUnsignedLongLong(args[0]), target = PyLong_AsUnsignedLongLong(args[1]), label = PyLong_AsUnsignedLongLong(args[2]);
    if (PyErr_Occurred()) return NULL;
    if (!rec.active || !source || !target) Py_RETURN_NONE;
    flow_record *r = writer_next(&rec.flows);
    if (r) {
        *r = (flow_record){0, source, target, (uint32_t)label, 0};
        record_time(&r->t_ns, span_now_ns());
    } else {
        rec.dropped++;
    }
    Py_RETURN_NONE;
}

static PyObject *record_internal(PyObject *module, PyObject *args) {
    PyObject *prefixes, *ours;
    if (!PyArg_ParseTuple(args, "OO", &prefixes, &ours) || intern_internal_prefixes(prefixes, ours) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *record_caps(PyObject *module, PyObject *args) {
    cap_numbers c;
    if (!PyArg_ParseTuple(args, "IIIIK", &c.sites, &c.signatures, &c.bare_signatures, &c.stacks, &c.name_bytes)) return NULL;
    caps = c;
    Py_RETURN_NONE;
}
static int take_caps(void) {
    PyObject *numbers = PyImport_ImportModule("tinytrace.tracer.caps"), *all = numbers ? PyObject_GetAttrString(numbers, "CAPS") : NULL;
    PyObject *done = all ? record_caps(NULL, all) : NULL;
    Py_XDECREF(numbers);
    Py_XDECREF(all);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* The child of a fork shares the parent's maps and files: it lets go of everything, without writing, before it may record. */
static void in_child(void) {
    rec.active = 0;
    rec.generation++;
    files_forget();
    if (rec.tables_fd >= 0) files_close();
    sampler_forget();
    keeper_forget();
}
static PyObject *record_reset_after_fork(PyObject *module, PyObject *unused) {
    uint32_t generation = rec.generation;
    memset(&rec, 0, sizeof rec);
    rec.generation = generation;
    rec.tables_fd = rec.folder_fd = -1;
    thread_self = NULL;
    intern_reset();
    Py_RETURN_NONE;
}

PyMethodDef tt_record_methods[] = {
    {"open", record_open, METH_VARARGS, "open(folder, disk_limit_bytes): begin recording into an empty folder."},
    {"close", record_close, METH_NOARGS, "End recording; nothing is recorded afterwards."},
    {"stats", record_stats, METH_NOARGS, "What was recorded and what was not, as numbers."},
    {"clock", record_clock, METH_NOARGS, "clock() -> CLOCK_MONOTONIC, the clock of spans, CLOCK_MONOTONIC, whether the second is the counter."},
    {"put", record_put, METH_VARARGS, "put(entry, payload): append an entry to the tables."},
    {"op", record_op, METH_O, "op(name) -> id"},
    {"label", record_label, METH_VARARGS, "label(name, args_json) -> id"},
    {"series", record_series, METH_VARARGS, "series(name, unit) -> id"},
    {"begin", record_begin, METH_VARARGS, "begin(kind, label) -> token"},
    {"end", record_end, METH_VARARGS, "end(token, flags)"},
    {"become", record_become, METH_VARARGS, "become(token, kind, label) -> (site, start_ns): what an open span is, after all."},
    {"begin_at", record_begin_at, METH_VARARGS, "begin_at(kind, label, site, start_ns) -> token: begin a span for another place."},
    {"instant", record_instant, METH_O, "instant(label)"},
    {"counter", record_counter, METH_VARARGS, "counter(series, value, t_ns=0)"},
    {"flow", (PyCFunction)(void (*)(void))record_flow, METH_FASTCALL, "flow(source, target, label): an arrow between two spans, by their tokens."},
    {"internal", record_internal, METH_VARARGS, "internal(prefixes, ours): files whose frames are never call sites."},
    {"caps", record_caps, METH_VARARGS, "caps(sites, signatures, bare_signatures, stacks, name_bytes): how much the next recordings may intern."},
    {"reset_after_fork", record_reset_after_fork, METH_NOARGS, "Forget the parent's recording, in the child of a fork."},
    {NULL, NULL, 0, NULL}};

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", "The compiled recorder; see tinytrace.tracer.protocol.Recorder.", -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) {
    PyObject *module = PyModule_Create(&definition);
    if (!module) return NULL;
    PyMethodDef *groups[] = {tt_record_methods, tt_hook_methods, tt_sampler_methods, tt_event_methods, tt_json_methods,
                             tt_json_write_methods, tt_around_methods};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (PyModule_AddFunctions(module, groups[i]) < 0) { Py_DECREF(module); return NULL; }
    if (PyModule_AddStringConstant(module, "core", "c") < 0 || PyModule_AddIntConstant(module, "FORMAT_VERSION", FORMAT_VERSION) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    if (take_caps() != 0) { Py_DECREF(module); return NULL; }
    pthread_atfork(NULL, NULL, in_child);
    span_clock_start();
    return module;
}
