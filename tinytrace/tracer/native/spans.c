/* Threads and the spans that they have open. A slot is taken at the beginning and completed at the end. */
#define _GNU_SOURCE 1
#include "tt.h"
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

_Thread_local thread_state *thread_self __attribute__((tls_model("initial-exec")));

/* The name that threading knows, borrowed from its table so that nothing is imported or called. */
static PyObject *thread_object(uint64_t ident) {
    PyObject *threading = PyDict_GetItemString(PyImport_GetModuleDict(), "threading");
    if (!threading || !PyModule_Check(threading)) return NULL;
    PyObject *active = PyDict_GetItemString(PyModule_GetDict(threading), "_active");
    if (!active || !PyDict_Check(active)) return NULL;
    PyObject *key = PyLong_FromUnsignedLongLong(ident);
    PyObject *thread = key ? PyDict_GetItemWithError(active, key) : NULL;
    Py_XDECREF(key);
    return thread;
}

/* Called by the system in a thread that ends, with or without the GIL. */
static pthread_key_t end_key;
static pthread_once_t end_key_once = PTHREAD_ONCE_INIT;
static int have_end_key;
static volatile int some_ended; /* since they were last let go */
static void thread_ends(void *state) {
    thread_self = NULL;
    some_ended = 1;
    ((thread_state *)state)->ended = 1;
}
static void make_end_key(void) { have_end_key = pthread_key_create(&end_key, thread_ends) == 0; }

/* Threads that have ended keep nothing but what they wrote: a program may start any number of them. */
static void forget_ended(void) {
    for (thread_state **link = &rec.threads; *link;) {
        thread_state *t = *link;
        int gone = t->watched ? t->ended : t->tid && syscall(SYS_tgkill, getpid(), (pid_t)t->tid, 0) != 0;
        if (!gone || t->depth) { link = &t->next; continue; } /* open spans may be ended by another thread */
        *link = t->next;
        writer_retire(&t->spans);
        free(t);
    }
}

/* For their room on disk. 1 = there were some. */
int threads_let_go(void) {
    if (!some_ended) return 0;
    some_ended = 0;
    forget_ended();
    return 1;
}

static thread_state *thread_register(uint64_t ident, uint64_t tid) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *object = thread_object(ident), *name = NULL;
    if (object) {
        name = PyObject_GetAttrString(object, "_name");
        if (!tid) {
            PyObject *native = PyObject_GetAttrString(object, "_native_id");
            if (native && PyLong_Check(native)) tid = PyLong_AsUnsignedLongLong(native);
            Py_XDECREF(native);
        }
        PyErr_Clear();
    }
    thread_state *t = NULL;
    for (thread_state *o = rec.threads; o && !t; o = o->next)
        if (tid && o->tid == tid && o->ident == ident) t = o;
    if (!t) forget_ended();
    if (!t && tables_full(256)) { /* of very many threads; what this one does is not recorded */
        rec.dropped++;
    } else if (!t && (t = calloc(1, sizeof *t))) {
        t->index = rec.n_threads++;
        t->generation = rec.generation;
        t->tid = tid;
        t->ident = ident;
        t->created_ns = now_ns();
        t->spans = (stream_writer){.stream = STREAM_SPANS, .thread = t->index};
        t->next = rec.threads;
        rec.threads = t;
        struct { uint32_t index, low, high; } head = {t->index, (uint32_t)tid, (uint32_t)(tid >> 32)};
        Py_ssize_t n = 0;
        const char *text = name && PyUnicode_Check(name) ? PyUnicode_AsUTF8AndSize(name, &n) : NULL;
        store_put(ENTRY_THREAD, &head, sizeof head, text ? text : "", text ? (size_t)n : 0);
        t->named = n > 0;
    }
    Py_XDECREF(name);
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    return t;
}

/* A thread may be met before threading has entered it in its table: then its name comes later. */
static void thread_name(thread_state *t) {
    PyObject *object = thread_object(t->ident), *name = object ? PyObject_GetAttrString(object, "_name") : NULL;
    Py_ssize_t n = 0;
    const char *text = name && PyUnicode_Check(name) ? PyUnicode_AsUTF8AndSize(name, &n) : NULL;
    struct { uint32_t index, low, high; } head = {t->index, (uint32_t)t->tid, (uint32_t)(t->tid >> 32)};
    if (text && n) store_put(ENTRY_THREAD, &head, sizeof head, text, (size_t)n);
    t->named = text && n;
    Py_XDECREF(name);
    PyErr_Clear();
}

/* This thread's state, made on its first span. NULL when it cannot be had. */
thread_state *thread_create(void) {
    if (!rec.active) return NULL;
    thread_state *t = thread_register(PyThread_get_thread_ident(), (uint64_t)syscall(SYS_gettid));
    pthread_once(&end_key_once, make_end_key);
    if (t && have_end_key && pthread_setspecific(end_key, t) == 0) {
        t->watched = 1;
        t->ended = 0;
    }
    return thread_self = t;
}

/* The state of another thread, for the sampler. Idents are used again when a thread has ended; where Python does not know
   the kernel's number (tid 0, before 3.11), it is asked whether the thread that had this ident still lives. */
thread_state *thread_of(uint64_t ident, uint64_t tid) {
    for (thread_state *t = rec.threads; t; t = t->next)
        if (t->ident == ident && (tid ? t->tid == tid : !t->tid || syscall(SYS_tgkill, getpid(), (pid_t)t->tid, 0) == 0)) {
            if (!t->named) thread_name(t);
            return t;
        }
    return thread_register(ident, tid);
}

open_span *span_begin(thread_state *t, int kind, uint32_t what, uint32_t site, uint64_t start_ns) {
    if (t->depth == MAX_DEPTH) { rec.dropped++; return NULL; }
    uint64_t index = t->spans.written;
    span_record *r = writer_next(&t->spans);
    if (!r) { rec.dropped++; return NULL; }
    uint64_t up = t->depth ? index - t->stack[t->depth - 1].index : 0;
    r->dur_ns = 0;
    r->what = what;
    r->site = site;
    r->parent = up < UINT32_MAX ? (uint32_t)up : 0;
    r->kind = (uint8_t)kind;
    r->flags = FLAG_OPEN;
    r->zero = 0;
    record_time(&r->start_ns, start_ns);
    segment *home = t->spans.current;
    home->open++;
    open_span *o = &t->stack[t->depth++];
    *o = (open_span){r, home, index, 0};
    rec.spans++;
    return o;
}

static void unhome(thread_state *t, segment *home) {
    if (--home->open == 0 && home->retired && home != t->spans.current) segment_release(home);
}

/* Position in the stack of open spans. */
static int find_open(const thread_state *t, const span_record *r) {
    for (int i = (int)t->depth - 1; i >= 0; i--) if (t->stack[i].record == r) return i;
    return -1;
}

int span_is_open(const thread_state *t, const span_record *r) {
    return t->generation == rec.generation && find_open(t, r) >= 0;
}

static void take_off(thread_state *t, int at) {
    t->depth--;
    memmove(&t->stack[at], &t->stack[at + 1], (t->depth - (uint32_t)at) * sizeof *t->stack);
}

void span_end(thread_state *t, span_record *r, uint64_t end_ns, int flags) {
    if (span_is_top(t, r)) { /* nearly always */
        open_span *top = &t->stack[t->depth - 1];
        segment *home = top->home;
        r->dur_ns = end_ns > r->start_ns ? end_ns - r->start_ns : 0;
        r->flags = (uint8_t)flags;
        if (--t->depth) top[-1].children++;
        unhome(t, home);
        return;
    }
    if (!span_is_open(t, r)) return;
    int at = find_open(t, r);
    flags |= FLAG_DETACHED; /* spans that began inside it are still open */
    segment *home = t->stack[at].home;
    r->dur_ns = end_ns > r->start_ns ? end_ns - r->start_ns : 0;
    r->flags = (uint8_t)flags;
    if (at) t->stack[at - 1].children++;
    take_off(t, at);
    unhome(t, home);
}

/* It turned out to be nothing worth a record (a view): the slot is given back, or left empty. */
void span_discard(thread_state *t, span_record *r) {
    int at = find_open(t, r);
    if (at < 0) return;
    open_span o = t->stack[at];
    memset(r, 0, sizeof *r);
    rec.spans--;
    if (o.home == t->spans.current && o.index + 1 == t->spans.written) {
        t->spans.written--;
        t->spans.position--;
    }
    take_off(t, at);
    unhome(t, o.home);
}

/* End a span by its token, from whichever thread. -1 = not open any more. */
int span_end_token(uint64_t token, int flags) {
    uint32_t thread = (uint32_t)(token >> 40);
    uint64_t index = token & ((1ull << 40) - 1), end = span_now_ns();
    for (thread_state *t = rec.threads; t; t = t->next) {
        if (t->index != thread) continue;
        for (int i = (int)t->depth - 1; i >= 0; i--)
            if (t->stack[i].index == index) {
                span_end(t, t->stack[i].record, end, flags | (t == thread_self ? 0 : FLAG_DETACHED));
                return 0;
            }
    }
    return -1;
}

/* An open span by its token; NULL: not open any more. */
span_record *span_of_token(uint64_t token) {
    uint32_t thread = (uint32_t)(token >> 40);
    uint64_t index = token & ((1ull << 40) - 1);
    for (thread_state *t = rec.threads; t; t = t->next)
        if (t->index == thread)
            for (int i = (int)t->depth - 1; i >= 0; i--)
                if (t->stack[i].index == index) return t->stack[i].record;
    return NULL;
}
