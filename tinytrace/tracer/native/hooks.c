/* The ways into NumPy: vectorcall pointers of single objects, `ml_meth` of C methods, ndarray's indexing slots, array memory.
   Every hook calls what it found; where recording is off that is all it does. */
#include "hooks.h"
#define NO_IMPORT_ARRAY
#include "operands.h"

static PyTypeObject *ufunc_type; /* NULL until `attach` */

/* ---- one op, whichever way it came ---- */
static void hint_forget(call_hint *hint, uint32_t op) {
    uint64_t key = op;
    *hint = (call_hint){.generation = rec.generation, .bare = signature_id(&key, 1, NULL)};
}

static inline open_span *op_begin(thread_state **t, call_hint *hint, uint32_t op, uint32_t policy) {
    if (!rec.active || !(*t = thread_current()) || (*t)->opaque) return NULL;
    if (hint->generation != rec.generation) hint_forget(hint, op);
    uint32_t site = site_of_caller(&hint->site);
    if (new_place) {
        place_met();
        if (!rec.active || (*t)->generation != rec.generation) return NULL;
    }
    open_span *o = span_begin(*t, KIND_OP, hint->bare, site, span_now_ns());
    (*t)->opaque = o && policy & POLICY_OPAQUE;
    return o;
}

static void op_end(thread_state *t, span_record *record, const op_call *call, PyObject *result, uint64_t end) {
    t->opaque = 0; /* inside an opaque op no other began */
    if (!span_is_open(t, record)) return;
    if (result && call->policy & POLICY_COPIES_ONLY) {
        open_span *o = span_is_top(t, record) ? &t->stack[t->depth - 1] : NULL;
        if (o && !o->children && shares_memory(call, result)) {
            span_discard(t, record);
            return;
        }
    }
    uint32_t signature = operands_signature(call, result); /* may run Python: finalizers */
    if (span_is_open(t, record)) record->what = signature;
    span_end(t, record, end, result ? 0 : FLAG_RAISED);
}

/* ---- 1. objects with a vectorcall pointer: ufuncs, __array_function__ dispatchers, Cython functions ---- */
typedef struct { PyObject *object; vectorcallfunc *slot, call; uint32_t op, policy, methods[UFUNC_METHODS]; int n_in, on; call_hint hint; } call_hook;
enum { MAX_CALLS = 4096 };
static call_hook call_hooks[2 * MAX_CALLS]; /* open-addressed by the object's address; entries stay for stragglers */
static int n_calls;

static inline call_hook *call_find(PyObject *object) {
    uint64_t at = ((uintptr_t)object >> 4) * 0x9E3779B97F4A7C15ull >> 51;
    while (call_hooks[at].object != object && call_hooks[at].object) at = (at + 1) & (2 * MAX_CALLS - 1);
    return &call_hooks[at];
}

static PyObject *traced_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    call_hook *h = call_find(self);
    thread_state *t;
    open_span *o = h->on ? op_begin(&t, &h->hint, h->op, h->policy) : NULL;
    if (!o) return h->call(self, args, nargsf, kwnames);
    span_record *record = o->record;
    PyObject *result = h->call(self, args, nargsf, kwnames);
    uint64_t end = span_now_ns();
    if (result && !kwnames && h->hint.ordinary && span_is_top(t, record)) {
        uint32_t signature = same_as_last(&h->hint, h->n_in, args, PyVectorcall_NARGS(nargsf), result);
        if (signature) {
            record->what = signature;
            span_end(t, record, end, 0);
            return result;
        }
    }
    op_call call = {.op = h->op, .policy = h->policy, .n_in = h->n_in, .args = args, .n_args = PyVectorcall_NARGS(nargsf), .kwnames = kwnames, .hint = &h->hint};
    op_end(t, record, &call, result, end);
    return result;
}

static int detached(void) {
    if (!ufunc_type) PyErr_SetString(PyExc_RuntimeError, "attach comes first");
    return !ufunc_type;
}

static PyObject *install_call(PyObject *module, PyObject *args) {
    PyObject *object;
    unsigned int op, policy;
    int n_in;
    if (detached() || !PyArg_ParseTuple(args, "OIiI", &object, &op, &n_in, &policy)) return NULL;
    Py_ssize_t offset = Py_TYPE(object)->tp_vectorcall_offset;
    vectorcallfunc *slot = (vectorcallfunc *)((char *)object + offset);
    if (offset <= 0 || !*slot) return PyErr_Format(PyExc_TypeError, "%R cannot be hooked: it has no vectorcall", object);
    call_hook *h = call_find(object);
    if (!h->object) {
        if (n_calls == MAX_CALLS) { PyErr_SetString(PyExc_OverflowError, "too many hooks"); return NULL; }
        n_calls++;
        h->object = Py_NewRef(object);
        h->slot = slot;
    }
    memset(h->methods, 0, sizeof h->methods);
    h->op = op;
    h->policy = policy;
    h->n_in = n_in;
    if (*slot != traced_call) {
        h->call = *slot;
        *slot = traced_call;
    }
    h->on = 1;
    Py_RETURN_NONE;
}

/* ---- 2. C methods and builtins ---- */
typedef struct { PyMethodDef *def; PyCFunction call, trampoline; uint32_t op, policy; int on, ufunc_method; PyObject *name; call_hint hint; } method_hook;
enum { MAX_METHODS = 256 };
static method_hook method_hooks[MAX_METHODS];
static int n_methods;
static open_span *method_begin(method_hook *h, thread_state **t) { return h->on ? op_begin(t, &h->hint, h->op, h->policy) : NULL; }

/* `add.reduce`: the op of a ufunc's method, named on first sight. */
static uint32_t method_op(method_hook *h, PyObject *self) {
    if (h->ufunc_method < 0) return h->op;
    call_hook *u = call_find(self);
    uint32_t *known = u->object ? &u->methods[h->ufunc_method] : NULL;
    if (known && *known) return *known;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    uint32_t op = h->op;
    PyObject *ufunc_name = PyObject_GetAttrString(self, "__name__");
    PyObject *full = ufunc_name ? PyUnicode_FromFormat("%U.%U", ufunc_name, h->name) : NULL;
    PyObject *id = full ? tt_record_op(full) : NULL;
    if (id) op = (uint32_t)PyLong_AsUnsignedLong(id);
    Py_XDECREF(ufunc_name);
    Py_XDECREF(full);
    Py_XDECREF(id);
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    if (known) *known = op;
    return op;
}

static PyObject *method_done(method_hook *h, thread_state *t, span_record *record, PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames, PyObject *kwargs, PyObject *result) {
    uint64_t end = span_now_ns();
    op_call call = {.op = method_op(h, self), .policy = h->policy, .n_in = -1, .args = args, .n_args = n, .kwnames = kwnames, .kwargs = kwargs, .hint = &h->hint};
    if (self && PyArray_Check(self)) call.self = self;
    op_end(t, record, &call, result, end);
    return result;
}

typedef PyObject *(*fast_keywords)(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
typedef PyObject *(*fast)(PyObject *, PyObject *const *, Py_ssize_t);
static inline PyObject *run_fast_keywords(method_hook *h, PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    thread_state *t;
    open_span *o = method_begin(h, &t);
    span_record *record = o ? o->record : NULL;
    PyObject *result = ((fast_keywords)(void *)h->call)(self, args, n, kwnames);
    return record ? method_done(h, t, record, self, args, n, kwnames, NULL, result) : result;
}
static inline PyObject *run_fast(method_hook *h, PyObject *self, PyObject *const *args, Py_ssize_t n) {
    thread_state *t;
    open_span *o = method_begin(h, &t);
    span_record *record = o ? o->record : NULL;
    PyObject *result = ((fast)(void *)h->call)(self, args, n);
    return record ? method_done(h, t, record, self, args, n, NULL, NULL, result) : result;
}
static inline PyObject *run_keywords(method_hook *h, PyObject *self, PyObject *args, PyObject *kwargs) {
    thread_state *t;
    open_span *o = method_begin(h, &t);
    span_record *record = o ? o->record : NULL;
    PyObject *result = ((PyCFunctionWithKeywords)(void *)h->call)(self, args, kwargs);
    return record ? method_done(h, t, record, self, &PyTuple_GET_ITEM(args, 0), PyTuple_GET_SIZE(args), NULL, kwargs, result) : result;
}
static inline PyObject *run_plain(method_hook *h, PyObject *self, PyObject *arg) {
    thread_state *t;
    open_span *o = method_begin(h, &t);
    span_record *record = o ? o->record : NULL;
    PyObject *result = h->call(self, arg);
    if (!record) return result;
    if (h->def->ml_flags & METH_VARARGS) return method_done(h, t, record, self, &PyTuple_GET_ITEM(arg, 0), PyTuple_GET_SIZE(arg), NULL, NULL, result);
    return method_done(h, t, record, self, &arg, h->def->ml_flags & METH_O ? 1 : 0, NULL, NULL, result);
}

/* One trampoline per hook and calling convention, because `ml_meth` is not told who it was called for. */
#define TRAMPOLINES(i) \
    static PyObject *fast_keywords_##i(PyObject *s, PyObject *const *a, Py_ssize_t n, PyObject *k) { return run_fast_keywords(&method_hooks[0x##i], s, a, n, k); } \
    static PyObject *fast_##i(PyObject *s, PyObject *const *a, Py_ssize_t n) { return run_fast(&method_hooks[0x##i], s, a, n); } \
    static PyObject *keywords_##i(PyObject *s, PyObject *a, PyObject *k) { return run_keywords(&method_hooks[0x##i], s, a, k); } \
    static PyObject *plain_##i(PyObject *s, PyObject *a) { return run_plain(&method_hooks[0x##i], s, a); }
#define ADDRESSES(i) {(PyCFunction)(void *)fast_keywords_##i, (PyCFunction)(void *)fast_##i, (PyCFunction)(void *)keywords_##i, plain_##i},
#define SIXTEEN(X, d) X(d##0) X(d##1) X(d##2) X(d##3) X(d##4) X(d##5) X(d##6) X(d##7) X(d##8) X(d##9) X(d##A) X(d##B) X(d##C) X(d##D) X(d##E) X(d##F)
#define EACH(X) SIXTEEN(X, 0) SIXTEEN(X, 1) SIXTEEN(X, 2) SIXTEEN(X, 3) SIXTEEN(X, 4) SIXTEEN(X, 5) SIXTEEN(X, 6) SIXTEEN(X, 7) \
    SIXTEEN(X, 8) SIXTEEN(X, 9) SIXTEEN(X, A) SIXTEEN(X, B) SIXTEEN(X, C) SIXTEEN(X, D) SIXTEEN(X, E) SIXTEEN(X, F)
EACH(TRAMPOLINES)
static const PyCFunction trampolines[MAX_METHODS][4] = {EACH(ADDRESSES)};

static int convention_of(const PyMethodDef *d) {
    switch (d->ml_flags & (METH_VARARGS | METH_KEYWORDS | METH_NOARGS | METH_O | METH_FASTCALL | METH_METHOD)) {
    case METH_FASTCALL | METH_KEYWORDS: return 0;
    case METH_FASTCALL: return 1;
    case METH_VARARGS | METH_KEYWORDS: return 2;
    case METH_VARARGS: case METH_NOARGS: case METH_O: return 3;
    default: return -1;
    }
}

/* Cython's functions begin like built-in ones; those that take *args have no vectorcall. */
static int is_cython_function(PyObject *o) {
    return strstr(Py_TYPE(o)->tp_name, "cython_function_or_method") != NULL;
}

static PyObject *install_method(PyObject *module, PyObject *args) {
    PyObject *owner, *name;
    unsigned int op, policy;
    if (detached() || !PyArg_ParseTuple(args, "OUII", &owner, &name, &op, &policy)) return NULL;
    PyObject *o = PyObject_GetAttr(owner, name);
    if (!o) return NULL;
    PyMethodDef *d = Py_IS_TYPE(o, &PyMethodDescr_Type) ? ((PyMethodDescrObject *)o)->d_method
                   : PyCFunction_Check(o) || is_cython_function(o) ? ((PyCFunctionObject *)o)->m_ml : NULL;
    Py_DECREF(o); /* its owner keeps it */
    int convention = d ? convention_of(d) : -1;
    if (convention < 0) return PyErr_Format(PyExc_TypeError, "%R of %R cannot be hooked: not a C method of a known kind", name, owner);
    int i = 0;
    while (i < n_methods && method_hooks[i].def != d) i++;
    if (i == MAX_METHODS) { PyErr_SetString(PyExc_OverflowError, "too many hooks"); return NULL; }
    method_hook *h = &method_hooks[i];
    if (i == n_methods) {
        n_methods++;
        *h = (method_hook){.def = d, .trampoline = trampolines[i][convention], .name = Py_NewRef(name), .ufunc_method = -1};
        if (owner == (PyObject *)ufunc_type) {
            int m = 0;
            for (int k = 0; k < i; k++) m += method_hooks[k].ufunc_method >= 0;
            h->ufunc_method = m < UFUNC_METHODS ? m : -1;
        }
    }
    h->op = op;
    h->policy = policy;
    if (d->ml_meth != h->trampoline) {
        h->call = d->ml_meth;
        d->ml_meth = h->trampoline;
    }
    h->on = 1;
    Py_RETURN_NONE;
}

/* ---- 3. indexing ---- */
static PyMappingMethods *mapping;
static binaryfunc original_get;
static objobjargproc original_set;
static uint32_t get_op, set_op;
static int indexing_on;
static call_hint get_hint, set_hint;

static PyObject *traced_get(PyObject *array, PyObject *key) {
    if (!indexing_on || !rec.active) return original_get(array, key);
    if (key_is_basic(key)) { /* a view or one element: no copy, no op */
        rec.skipped_elements += key_is_element(array, key);
        return original_get(array, key);
    }
    thread_state *t;
    open_span *o = op_begin(&t, &get_hint, get_op, 0);
    span_record *record = o ? o->record : NULL;
    PyObject *result = original_get(array, key);
    if (!record) return result;
    uint64_t end = span_now_ns();
    op_call call = {.op = get_op, .policy = POLICY_COPIES_ONLY, .n_in = -1, .self = array, .args = &key, .n_args = 1, .hint = &get_hint};
    op_end(t, record, &call, result, end);
    return result;
}
static int traced_set(PyObject *array, PyObject *key, PyObject *value) {
    if (!indexing_on || !rec.active) return original_set(array, key, value);
    if (key_is_element(array, key)) {
        rec.skipped_elements++;
        return original_set(array, key, value);
    }
    thread_state *t;
    open_span *o = value ? op_begin(&t, &set_hint, set_op, 0) : NULL;
    span_record *record = o ? o->record : NULL;
    int failed = original_set(array, key, value);
    if (!record) return failed;
    uint64_t end = span_now_ns();
    uint32_t signature = span_is_open(t, record) ? assignment_signature(set_op, array, key, value, &set_hint) : 0; /* may run Python */
    if (span_is_open(t, record)) record->what = signature;
    span_end(t, record, end, failed ? FLAG_RAISED : 0);
    return failed;
}
/* A subclass that was made in Python has slots of its own, copied from its base. */
static int each_subclass(PyObject *type, binaryfunc get_from, binaryfunc get_to, objobjargproc set_from, objobjargproc set_to) {
    PyObject *subclasses = PyObject_CallMethod(type, "__subclasses__", NULL);
    int failed = !subclasses || !PyList_Check(subclasses);
    for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(subclasses); i++) {
        PyObject *subclass = PyList_GET_ITEM(subclasses, i);
        PyMappingMethods *m = ((PyTypeObject *)subclass)->tp_as_mapping;
        if (m && m->mp_subscript == get_from) m->mp_subscript = get_to;
        if (m && m->mp_ass_subscript == set_from) m->mp_ass_subscript = set_to;
        failed = each_subclass(subclass, get_from, get_to, set_from, set_to);
    }
    Py_XDECREF(subclasses);
    return failed;
}
/* `ndarray.__getitem__` called by its name, as subclasses do, does not read the slot. */
static void wrapper_swap(PyTypeObject *type, const char *name, void *from, void *to) {
    PyObject *wrapper = PyDict_GetItemString(type->tp_dict, name);
    if (wrapper && Py_IS_TYPE(wrapper, &PyWrapperDescr_Type) && ((PyWrapperDescrObject *)wrapper)->d_wrapped == from)
        ((PyWrapperDescrObject *)wrapper)->d_wrapped = to;
}
static PyObject *install_indexing(PyObject *module, PyObject *args) {
    PyTypeObject *type;
    if (detached() || !PyArg_ParseTuple(args, "O!II", &PyType_Type, &type, &get_op, &set_op)) return NULL;
    mapping = type->tp_as_mapping;
    if (mapping->mp_subscript != traced_get) {
        original_get = mapping->mp_subscript;
        original_set = mapping->mp_ass_subscript;
        mapping->mp_subscript = traced_get;
        mapping->mp_ass_subscript = traced_set;
    }
    wrapper_swap(type, "__getitem__", (void *)original_get, (void *)traced_get);
    wrapper_swap(type, "__setitem__", (void *)original_set, (void *)traced_set);
    if (each_subclass((PyObject *)type, original_get, traced_get, original_set, traced_set)) return NULL;
    indexing_on = 1;
    Py_RETURN_NONE;
}

/* ---- off again, last in first out; what is not as we left it stays and is named ---- */
static int complain(PyObject *problems, const char *what, PyObject *name) {
    PyObject *text = PyUnicode_FromFormat("%s of %R was changed by someone else and was left as it is", what, name);
    int failed = !text || PyList_Append(problems, text) < 0;
    Py_XDECREF(text);
    return failed;
}
static PyObject *uninstall(PyObject *module, PyObject *unused) {
    PyObject *problems = PyList_New(0);
    if (!problems) return NULL;
    int failed = memory_off() ? complain(problems, "the memory handler", Py_None) : 0;
    if (indexing_on) {
        indexing_on = 0;
        if (mapping->mp_subscript == traced_get && mapping->mp_ass_subscript == traced_set) {
            mapping->mp_subscript = original_get;
            mapping->mp_ass_subscript = original_set;
            wrapper_swap(&PyArray_Type, "__getitem__", (void *)traced_get, (void *)original_get);
            wrapper_swap(&PyArray_Type, "__setitem__", (void *)traced_set, (void *)original_set);
            failed |= each_subclass((PyObject *)&PyArray_Type, traced_get, original_get, traced_set, original_set);
        } else failed |= complain(problems, "the indexing", (PyObject *)&PyArray_Type);
    }
    for (int i = n_methods - 1; i >= 0; i--) {
        method_hook *h = &method_hooks[i];
        if (!h->on) continue;
        h->on = 0;
        if (h->def->ml_meth == h->trampoline) h->def->ml_meth = h->call;
        else failed |= complain(problems, "the method", h->name);
    }
    for (int i = 2 * MAX_CALLS - 1; i >= 0; i--) {
        call_hook *h = &call_hooks[i];
        if (!h->on) continue;
        h->on = 0;
        if (*h->slot == traced_call) *h->slot = h->call;
        else failed |= complain(problems, "the call", h->object);
    }
    if (failed) { Py_DECREF(problems); return NULL; }
    return problems;
}

/* NumPy's C interface, when the program has imported NumPy and not before. */
static PyObject *attach(PyObject *module, PyObject *type) {
    if (operands_attach() < 0) return NULL;
    ufunc_type = (PyTypeObject *)type;
    Py_RETURN_NONE;
}

/* What recording one op takes: the fastest calls of a hooked object beside the fastest of what it was, in ns. The spans go to memory of
   our own. */
static PyObject *op_cost(PyObject *module, PyObject *args) {
    enum { ROUNDS = 25, CALLS = 200 };
    PyObject *const *operands = &PyTuple_GET_ITEM(args, 1);
    Py_ssize_t n = PyTuple_GET_SIZE(args) - 1;
    call_hook *h = n > 0 ? call_find(PyTuple_GET_ITEM(args, 0)) : NULL;
    thread_state *own = calloc(1, sizeof *own), *before = thread_self;
    segment home = {.capacity = CALLS, .map = calloc(CALLS + 2, RECORD_BYTES)};
    uint64_t spans = rec.spans, hooked = UINT64_MAX, plain = UINT64_MAX;
    if (h && h->on && rec.active && own && home.map) {
        thread_self = own;
        own->generation = rec.generation;
        for (int round = 0; round < ROUNDS && !PyErr_Occurred(); round++) {
            own->spans = (stream_writer){.stream = STREAM_SPANS, .current = &home};
            home.open = 1; /* never released */
            uint64_t start = now_ns();
            for (int i = 0; i < CALLS; i++) Py_XDECREF(traced_call(h->object, operands, (size_t)n, NULL));
            uint64_t middle = now_ns();
            for (int i = 0; i < CALLS; i++) Py_XDECREF(h->call(h->object, operands, (size_t)n, NULL));
            uint64_t end = now_ns();
            if (middle - start < hooked) hooked = middle - start;
            if (end - middle < plain) plain = end - middle;
        }
        thread_self = before;
    }
    rec.spans = spans;
    free(home.map);
    free(own);
    if (PyErr_Occurred()) return NULL;
    return PyLong_FromUnsignedLongLong(hooked > plain ? (hooked - plain) / CALLS : 0);
}

/* What tinytrace computes itself is no op of the program's. */
static PyObject *opaque(PyObject *module, PyObject *flag) {
    long on = PyLong_AsLong(flag);
    if (on == -1 && PyErr_Occurred()) return NULL;
    thread_state *t = rec.active ? thread_current() : NULL;
    long before = t ? (long)t->opaque : 0;
    if (t) t->opaque = on != 0;
    return PyLong_FromLong(before);
}

PyMethodDef tt_hook_methods[] = {
    {"attach", attach, METH_O, "attach(ufunc_type): take hold of NumPy's C interface; NumPy must have been imported."},
    {"install_call", install_call, METH_VARARGS, "install_call(object, op, n_in, policy)"},
    {"install_method", install_method, METH_VARARGS, "install_method(owner, name, op, policy)"},
    {"install_indexing", install_indexing, METH_VARARGS, "install_indexing(array_type, get_op, set_op)"},
    {"install_memory", memory_on, METH_NOARGS, "Count array memory."},
    {"memory", memory_read, METH_NOARGS, "memory() -> (live bytes, peak since the last call, allocations)"},
    {"memory_watch", memory_watch, METH_NOARGS, "Begin to watch array memory; returns a number for it."},
    {"memory_watched", memory_watched, METH_O, "memory_watched(number) -> (bytes, peak, allocations) since its beginning"},
    {"memory_unwatch", memory_unwatch, METH_O, "End it."},
    {"uninstall", uninstall, METH_NOARGS, "Undo every hook; returns what could not be undone, as sentences."},
    {"opaque", opaque, METH_O, "opaque(flag) -> what it was: whether ops of this thread are left out."},
    {"op_cost", op_cost, METH_VARARGS, "op_cost(ufunc, *operands) -> ns that recording a call of it takes"},
    {NULL, NULL, 0, NULL}};
