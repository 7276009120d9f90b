/* around(function, before, after, failed): what `wrapping.around_in_python` makes, without a frame on Python's stack.
 *
 * The object passes for the function in all but its type: attributes are the function's, it binds like one, it is pickled by
 * name, and `isinstance` finds the function's class. `before` and `after` are called while nothing of the program runs inside,
 * so that a traceback has the program's frames only; debuggers and profilers of the program are not shown them. */
#include "hooks.h"
#include <stddef.h>
#include <structmember.h>

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *function, *before, *after, *failed, *weak;
} around;

/* What is called meanwhile is not shown to debuggers and profilers of the program. */
static void unobserved(int on) {
    PyThreadState *t = PyThreadState_Get();
#if PY_VERSION_HEX >= 0x030B0000
    if (on) PyThreadState_EnterTracing(t);
    else PyThreadState_LeaveTracing(t);
#else
    t->tracing += on ? 1 : -1;
    t->cframe->use_tracing = !t->tracing && (t->c_tracefunc || t->c_profilefunc);
#endif
}

/* What went wrong in a callback is told to `failed`; -1: it is meant for the program (an interrupt), and stays set. */
static int tell(around *a) {
    if (!PyErr_ExceptionMatches(PyExc_Exception)) return -1;
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    PyObject *done = PyObject_CallOneArg(a->failed, value ? value : Py_None);
    if (!done) PyErr_Clear();
    Py_XDECREF(done);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    return 0;
}

/* A new reference to the token; Py_None: nothing is to be told afterwards; NULL: an exception for the program. */
static PyObject *call_before(around *a, PyObject *called, PyObject *const *args, Py_ssize_t n, PyObject *names) {
    Py_ssize_t first = called ? 1 : 0; /* the object that is called goes before its arguments */
    PyObject *values = PyTuple_New(first + n), *named = PyDict_New(), *token = NULL;
    int failed = !values || !named;
    if (!failed && called) PyTuple_SET_ITEM(values, 0, Py_NewRef(called));
    for (Py_ssize_t i = 0; !failed && i < n; i++) PyTuple_SET_ITEM(values, first + i, Py_NewRef(args[i]));
    for (Py_ssize_t i = 0; !failed && names && i < PyTuple_GET_SIZE(names); i++)
        failed = PyDict_SetItem(named, PyTuple_GET_ITEM(names, i), args[n + i]) < 0;
    unobserved(1);
    if (!failed) token = PyObject_CallFunctionObjArgs(a->before, values, named, NULL);
    if (!token && tell(a) == 0) token = Py_NewRef(Py_None);
    unobserved(0);
    Py_XDECREF(values);
    Py_XDECREF(named);
    return token;
}

/* `result` is the function's, NULL with an exception set: both are as they were afterwards, unless -1 is returned. */
static int call_after(around *a, PyObject *token, PyObject *result) {
    PyObject *type = NULL, *value = NULL, *trace = NULL;
    if (!result) PyErr_Fetch(&type, &value, &trace);
    unobserved(1);
    PyObject *done = PyObject_CallFunctionObjArgs(a->after, token, result ? result : Py_None, result ? Py_False : Py_True, NULL);
    int failed = done ? 0 : tell(a);
    unobserved(0);
    Py_XDECREF(done);
    if (failed) { /* an interrupt, while the callback ran: the program gets that one */
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(trace);
    } else if (!result) {
        PyErr_Restore(type, value, trace);
    }
    return failed;
}

static PyObject *around_call(PyObject *self, PyObject *const *args, size_t flagged, PyObject *names) {
    around *a = (around *)self;
    PyObject *function = Py_NewRef(a->function), *token = call_before(a, NULL, args, PyVectorcall_NARGS(flagged), names), *result = NULL;
    if (token) result = PyObject_Vectorcall(function, args, flagged, names);
    if (token && token != Py_None && call_after(a, token, result) < 0) Py_CLEAR(result);
    Py_XDECREF(token);
    Py_DECREF(function);
    return result;
}

static PyObject *around_bind(PyObject *self, PyObject *object, PyObject *type) {
    return object && object != Py_None ? PyMethod_New(self, object) : Py_NewRef(self);
}

static PyObject *by_name(PyObject *self, PyObject *unused) { return PyObject_GetAttrString(((around *)self)->function, "__qualname__"); }
static PyMethodDef methods[] = {{"__reduce_ex__", by_name, METH_O, NULL}, {"__reduce__", by_name, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};

static PyObject *around_get(PyObject *self, PyObject *name) {
    PyObject *function = ((around *)self)->function;
    if (PyUnicode_CompareWithASCIIString(name, "__wrapped__") == 0) return Py_NewRef(function);
    if (PyUnicode_CompareWithASCIIString(name, "__reduce_ex__") == 0 || PyUnicode_CompareWithASCIIString(name, "__reduce__") == 0)
        return PyObject_GenericGetAttr(self, name);
    return PyObject_GetAttr(function, name);
}
static int around_set(PyObject *self, PyObject *name, PyObject *value) { return PyObject_SetAttr(((around *)self)->function, name, value); }
static PyObject *around_repr(PyObject *self) { return PyObject_Repr(((around *)self)->function); }

static int around_traverse(PyObject *self, visitproc visit, void *arg) {
    around *a = (around *)self;
    Py_VISIT(a->function);
    Py_VISIT(a->before);
    Py_VISIT(a->after);
    Py_VISIT(a->failed);
    return 0;
}
static void around_dealloc(PyObject *self) {
    around *a = (around *)self;
    PyObject_GC_UnTrack(self);
    if (a->weak) PyObject_ClearWeakRefs(self);
    Py_CLEAR(a->function);
    Py_CLEAR(a->before);
    Py_CLEAR(a->after);
    Py_CLEAR(a->failed);
    Py_TYPE(self)->tp_free(self);
}

static PyTypeObject around_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "tinytrace.function",
    .tp_basicsize = sizeof(around),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_vectorcall_offset = offsetof(around, vectorcall),
    .tp_weaklistoffset = offsetof(around, weak),
    .tp_call = PyVectorcall_Call,
    .tp_descr_get = around_bind,
    .tp_getattro = around_get,
    .tp_setattro = around_set,
    .tp_repr = around_repr,
    .tp_traverse = around_traverse,
    .tp_dealloc = around_dealloc,
    .tp_methods = methods,
};

static PyObject *around_new(PyObject *module, PyObject *args) {
    PyObject *function, *before, *after, *failed;
    if (!PyArg_ParseTuple(args, "OOOO", &function, &before, &after, &failed) || PyType_Ready(&around_type) < 0) return NULL;
    around *a = PyObject_GC_New(around, &around_type);
    if (!a) return NULL;
    a->vectorcall = around_call;
    a->function = Py_NewRef(function);
    a->before = Py_NewRef(before);
    a->after = Py_NewRef(after);
    a->failed = Py_NewRef(failed);
    a->weak = NULL;
    PyObject_GC_Track((PyObject *)a);
    return (PyObject *)a;
}

/* on_new_place(call): what is called, while no exception is set, after code was met for the first time; None: nothing. */
int new_place;
static PyObject *on_new_place;
void place_met(void) {
    PyObject *type, *value, *trace, *call = on_new_place;
    new_place = 0;
    if (!call) return;
    PyErr_Fetch(&type, &value, &trace);
    Py_INCREF(call);
    unobserved(1);
    PyObject *done = PyObject_CallNoArgs(call);
    unobserved(0);
    if (!done) {
        if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) PyErr_SetInterrupt(); /* the program's, a little later */
        PyErr_Clear();
    }
    Py_XDECREF(done);
    Py_DECREF(call);
    PyErr_Restore(type, value, trace);
}
static PyObject *set_on_new_place(PyObject *module, PyObject *call) {
    Py_XSETREF(on_new_place, call == Py_None ? NULL : Py_NewRef(call));
    Py_RETURN_NONE;
}

/* ---- objects of one type whose calls are seen: their vectorcall pointer leads here, they themselves stay what they are ---- */
static struct { vectorcallfunc call; around *seen; } redirected;

static PyObject *redirected_call(PyObject *object, PyObject *const *args, size_t flagged, PyObject *names) {
    around *a = redirected.seen;
    if (!a) return redirected.call(object, args, flagged, names);
    Py_INCREF(a);
    PyObject *token = call_before(a, object, args, PyVectorcall_NARGS(flagged), names), *result = NULL;
    if (token) result = redirected.call(object, args, flagged, names);
    if (token && token != Py_None && call_after(a, token, result) < 0) Py_CLEAR(result);
    Py_XDECREF(token);
    Py_DECREF(a);
    return result;
}

static PyObject *redirect(PyObject *module, PyObject *args) {
    PyObject *object, *seen;
    if (!PyArg_ParseTuple(args, "OO", &object, &seen)) return NULL;
    Py_ssize_t offset = Py_TYPE(object)->tp_vectorcall_offset;
    vectorcallfunc *slot = (vectorcallfunc *)((char *)object + offset);
    if (seen == Py_None) {
        if (offset > 0 && *slot == redirected_call) *slot = redirected.call;
        Py_CLEAR(redirected.seen);
        Py_RETURN_NONE;
    }
    if (offset <= 0 || !*slot || Py_TYPE(seen) != &around_type) return PyErr_Format(PyExc_TypeError, "%R cannot be redirected", object);
    if (*slot != redirected_call) {
        if (redirected.call && redirected.call != *slot) return PyErr_Format(PyExc_TypeError, "%R is of another type", object);
        redirected.call = *slot;
        *slot = redirected_call;
    }
    Py_XSETREF(redirected.seen, (around *)Py_NewRef(seen));
    Py_RETURN_NONE;
}

PyMethodDef tt_around_methods[] = {
    {"on_new_place", set_on_new_place, METH_O, "on_new_place(call): call it when an op comes from code that was not met before; None: nothing."},
    {"redirect", redirect, METH_VARARGS,
     "redirect(object, seen): calls of the object, which goes before its arguments, are seen by what around() made; None: no more."},
    {"around", around_new, METH_VARARGS, "around(function, before, after, failed): see tinytrace.tracer.wrapping."},
    {NULL, NULL, 0, NULL}};
