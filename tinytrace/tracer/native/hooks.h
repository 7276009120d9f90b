/* What hooks.c shares with operands.c and memory.c: the call being recorded. */
#ifndef TINYTRACE_HOOKS_H
#define TINYTRACE_HOOKS_H
#include "tt.h"
#include <string.h>

enum { UFUNC_METHODS = 8 };

/* What the last call of a hook was, since the next is likely to be the same; void after a new recording began. */
enum { ORDINARY_OPERANDS = 4 };
typedef struct { const void *descr; int ndim, contiguity, alias; } operand_hint; /* descr: one of NumPy's own dtypes */
typedef struct {
    site_hint site; signature_hint signature; uint32_t generation;
    uint32_t bare;           /* the signature without operands: what a span is while it is open */
    int ordinary;            /* the call was one that `operands` can describe */
    operand_hint operands[ORDINARY_OPERANDS];
} call_hint;

typedef struct {
    uint32_t op, policy;
    int n_in;                /* ufuncs: positional arguments beyond these are outputs; -1 = all are inputs */
    PyObject *self;          /* the array whose method this is, or NULL */
    PyObject *const *args;
    Py_ssize_t n_args;
    PyObject *kwnames;       /* vectorcall: names of the values after args; or NULL */
    PyObject *kwargs;        /* a dict; or NULL */
    call_hint *hint;
} op_call;

int operands_attach(void);
uint32_t operands_signature(const op_call *call, PyObject *result);
uint32_t assignment_signature(uint32_t op, PyObject *array, PyObject *key, PyObject *value, call_hint *hint);
int shares_memory(const op_call *call, PyObject *result);
int key_is_basic(PyObject *key);
int key_is_element(PyObject *array, PyObject *key);

PyObject *tt_record_op(PyObject *name); /* module.c: the id of an op's name */

PyObject *memory_on(PyObject *module, PyObject *unused);
PyObject *memory_read(PyObject *module, PyObject *unused);
PyObject *memory_watch(PyObject *module, PyObject *unused);
PyObject *memory_watched(PyObject *module, PyObject *number);
PyObject *memory_unwatch(PyObject *module, PyObject *number);
int memory_off(void); /* 1 = someone else's handler was found and left */
#endif
