/* Array memory (NEP 49): the function pointers inside NumPy's default handler are seen from every thread, a handler set in a
   context is not. */
#include "hooks.h"
#define NO_IMPORT_ARRAY
#include "operands.h"
#include <malloc.h>

static PyDataMem_Handler *handler;
static PyDataMemAllocator original;
/* `live` counts from the beginning of recording. Arrays that are older can take it below 0 when they are freed: the lowest it
   has been, `floor_`, tells how many bytes of such there were at least. live - floor_ bytes are there, or more: exact where
   NumPy was imported while recording, else a lower bound. */
static int64_t live, floor_, peak, allocations;

/* NumPy calls its handler with the GIL (its own cache of small blocks relies on that too): no locked instructions needed. */
static inline void grow(int64_t bytes) {
    live += bytes;
    allocations++;
    if (live - floor_ > peak) peak = live - floor_;
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

PyObject *memory_on(PyObject *module, PyObject *unused) {
    if (operands_attach() < 0) return NULL;
    PyDataMem_Handler *found = PyCapsule_GetPointer(PyDataMem_DefaultHandler, "mem_handler");
    if (!found) return NULL;
    if (found->allocator.malloc != traced_malloc) {
        handler = found;
        original = found->allocator;
        handler->allocator.malloc = traced_malloc;
        handler->allocator.calloc = traced_calloc;
        handler->allocator.realloc = traced_realloc;
        handler->allocator.free = traced_free;
    }
    live = floor_ = peak = allocations = 0;
    Py_RETURN_NONE;
}

int memory_off(void) {
    if (!handler) return 0;
    int ours = handler->allocator.malloc == traced_malloc && handler->allocator.free == traced_free;
    if (ours) handler->allocator = original;
    handler = NULL;
    return !ours;
}

PyObject *memory_read(PyObject *module, PyObject *unused) {
    if (!handler) Py_RETURN_NONE;
    int64_t now = live - floor_, top = peak;
    peak = now;
    return Py_BuildValue("LLL", (long long)now, (long long)top, (long long)allocations);
}
