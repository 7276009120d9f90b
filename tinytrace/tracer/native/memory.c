/* Array memory (NEP 49): the function pointers inside NumPy's default handler are seen from every thread, a handler set in a
   context is not. */
#include "hooks.h"
#define NO_IMPORT_ARRAY
#include "operands.h"
#include <malloc.h>

#define MAX_WATCHES 64 /* blocks within blocks, and threads */

static PyDataMem_Handler *handler;
static PyDataMemAllocator original;
/* `live` goes on for as long as the process lives; what counts are differences. Arrays that are older than a recording can take it
   below what it was at the beginning: the lowest it has been since, `floor_`, tells how many bytes of such there were at least.
   live - floor_ bytes are there, or more: exact where NumPy was imported while recording, else a lower bound. */
static int64_t live, allocations;
static int64_t floor_, peak, first_allocation; /* of the recording */
static int counting;

/* Blocks of the program that want to know their own peak, each from its own beginning, with or without a recording. */
static struct watch {
    int64_t base, top, first_allocation;
    int used;
} watches[MAX_WATCHES];
static int n_watches; /* up to the last one in use */

/* NumPy calls its handler with the GIL (its own cache of small blocks relies on that too): no locked instructions needed. */
static inline void grow(int64_t bytes) {
    live += bytes;
    allocations++;
    if (live - floor_ > peak) peak = live - floor_;
    for (int i = 0; i < n_watches; i++)
        if (live > watches[i].top) watches[i].top = live;
}
static inline void shrink(int64_t bytes) {
    live -= bytes;
    if (live < floor_) floor_ = live;
}
static void *traced_malloc(void *context, size_t size) {
    void *p = original.malloc(context, size);
    if (p) grow((int64_t)size);
    return p;
}
static void *traced_calloc(void *context, size_t n, size_t size) {
    void *p = original.calloc(context, n, size);
    if (p) grow((int64_t)(n * size));
    return p;
}
/* The old size is not passed: what malloc says of the block stands for it, up to a page above what was asked for. */
static void *traced_realloc(void *context, void *old, size_t size) {
    int64_t before = old ? (int64_t)malloc_usable_size(old) : 0;
    void *p = original.realloc(context, old, size);
    if (p) {
        shrink(before);
        grow((int64_t)size);
    }
    return p;
}
static void traced_free(void *context, void *p, size_t size) {
    if (p) shrink((int64_t)size);
    original.free(context, p, size);
}

/* Take the handler's place; 0, or -1 with an exception. */
static int attach(void) {
    if (operands_attach() < 0) return -1;
    PyDataMem_Handler *found = PyCapsule_GetPointer(PyDataMem_DefaultHandler, "mem_handler");
    if (!found) return -1;
    if (found->allocator.malloc != traced_malloc) {
        handler = found;
        original = found->allocator;
        handler->allocator.malloc = traced_malloc;
        handler->allocator.calloc = traced_calloc;
        handler->allocator.realloc = traced_realloc;
        handler->allocator.free = traced_free;
    }
    return 0;
}

/* Give the place back once nobody counts any more; 1 = someone else's handler was found and left. */
static int detach(void) {
    if (!handler || counting || n_watches) return 0;
    int ours = handler->allocator.malloc == traced_malloc && handler->allocator.free == traced_free;
    if (ours) handler->allocator = original;
    handler = NULL;
    return !ours;
}

PyObject *memory_on(PyObject *module, PyObject *unused) {
    if (attach() < 0) return NULL;
    counting = 1;
    floor_ = live;
    peak = 0;
    first_allocation = allocations;
    Py_RETURN_NONE;
}

int memory_off(void) {
    counting = 0;
    return detach();
}

PyObject *memory_read(PyObject *module, PyObject *unused) {
    if (!counting) Py_RETURN_NONE;
    int64_t now = live - floor_, top = peak;
    peak = now;
    return Py_BuildValue("LLL", (long long)now, (long long)top, (long long)(allocations - first_allocation));
}

PyObject *memory_watch(PyObject *module, PyObject *unused) {
    int id = 0;
    while (id < MAX_WATCHES && watches[id].used) id++;
    if (id == MAX_WATCHES) return PyErr_Format(PyExc_ValueError, "more than %d blocks are watched", MAX_WATCHES);
    if (attach() < 0) return NULL;
    watches[id] = (struct watch){live, live, allocations, 1};
    if (id >= n_watches) n_watches = id + 1;
    return PyLong_FromLong(id);
}

static struct watch *watch_of(PyObject *number) {
    long id = PyLong_AsLong(number);
    if (id == -1 && PyErr_Occurred()) return NULL;
    if (id >= 0 && id < n_watches && watches[id].used) return &watches[id];
    return PyErr_Format(PyExc_ValueError, "no watched block has the number %ld", id), NULL;
}

PyObject *memory_watched(PyObject *module, PyObject *number) {
    struct watch *watch = watch_of(number);
    if (!watch) return NULL;
    return Py_BuildValue(
        "LLL", (long long)(live - watch->base), (long long)(watch->top - watch->base),
        (long long)(allocations - watch->first_allocation));
}

PyObject *memory_unwatch(PyObject *module, PyObject *number) {
    struct watch *watch = watch_of(number);
    if (!watch) return NULL;
    watch->used = 0;
    while (n_watches && !watches[n_watches - 1].used) n_watches--;
    detach();
    Py_RETURN_NONE;
}
