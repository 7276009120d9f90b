/* The sampling thread. It sleeps without the GIL, takes it for each sample, and weighs every sample by the time since the last. */
#define _GNU_SOURCE 1
#include "tt.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int ready, running, stopping, counters_only;
    unsigned run; /* counts starts: a thread of an earlier one ends by itself */
    PyInterpreterState *interpreter;
    uint64_t period_ns, tick_ns, random;
    PyObject *tick; /* called about every tick_ns, with the GIL */
    uint64_t started_ns, last_ns, samples, rounds, largest_gap_ns, late_ns, busy_ns;
} sampler = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A thread as one round found it. */
typedef struct { uint64_t ident, tid; uint32_t stack; } sighting;
static sighting *seen; /* the sampling thread's own */
static size_t seen_room;

/* xorshift64*: the sleeps are drawn from an exponential distribution so that sampling does not alias with loops. */
static uint64_t draw_sleep(void) {
    sampler.random ^= sampler.random >> 12;
    sampler.random ^= sampler.random << 25;
    sampler.random ^= sampler.random >> 27;
    double u = (double)((sampler.random * 0x2545F4914F6CDD1Dull) >> 11) / 9007199254740992.0; /* [0, 1) */
    double sleep = -log1p(-u) * (double)sampler.period_ns;
    double limit = 5.0 * (double)sampler.period_ns;
    return (uint64_t)(sleep < limit ? sleep : limit);
}

/* The CPU clock of a thread by the kernel's own numbering, so that a thread that has ended is an error and not a fault. */
static uint64_t thread_cpu_ns(const thread_state *t) {
    struct timespec c;
    if (!t->tid || clock_gettime((clockid_t)((~(uint32_t)t->tid << 3) | 6), &c) != 0) return 0;
    return (uint64_t)c.tv_sec * 1000000000ull + (uint64_t)c.tv_nsec;
}

/* The stacks of all threads but ours. Nothing in here runs Python code, which could let a thread state go while we are at it. */
static size_t look(const PyThreadState *me) {
    size_t n = 0;
    for (PyThreadState *o = PyInterpreterState_ThreadHead(sampler.interpreter); o; o = PyThreadState_Next(o)) {
        uint32_t stack = o == me ? 0 : stack_of(o);
        if (!stack) continue; /* a thread that is just starting has no frame and no identity yet */
        if (n == seen_room) {
            size_t room = seen_room ? seen_room * 2 : 64;
            sighting *more = realloc(seen, room * sizeof *seen);
            if (!more) break;
            seen = more;
            seen_room = room;
        }
#if PY_VERSION_HEX >= 0x030B0000
        seen[n++] = (sighting){o->thread_id, o->native_thread_id, stack};
#else
        seen[n++] = (sighting){o->thread_id, 0, stack};
#endif
    }
    return n;
}

/* A sample stands for the time since the round before, in which its thread was seen, or was not there, or not in Python. */
static void write_sample(const sighting *s, uint64_t t_ns, uint64_t before_ns) {
    thread_state *t = thread_of(s->ident, s->tid);
    if (!t) return;
    uint64_t cpu = thread_cpu_ns(t), since = before_ns;
    uint32_t low = UINT32_MAX, high = 0;
    int followed = t->sampled_ns == before_ns;
    if (!followed && t->created_ns > since && t->created_ns < t_ns) since = t->created_ns;
    if (followed && cpu && t->sampled_cpu_ns && cpu >= t->sampled_cpu_ns) {
        uint64_t used = cpu - t->sampled_cpu_ns;
        low = (uint32_t)used - ((uint32_t)used == UINT32_MAX); /* which means not known */
        high = (uint32_t)(used >> 32);
    }
    t->sampled_ns = t_ns;
    t->sampled_cpu_ns = cpu;
    sample_record *r = writer_next(&rec.samples);
    if (!r) { rec.dropped++; return; }
    *r = (sample_record){0, t_ns - since, low, t->index, s->stack, high};
    record_time(&r->t_ns, t_ns);
    sampler.samples++;
}

static void call_tick(void) {
    PyObject *tick = Py_XNewRef(sampler.tick); /* whatever it runs may stop us */
    if (!tick) return;
    PyObject *result = PyObject_CallNoArgs(tick);
    if (!result) PyErr_Clear();
    Py_XDECREF(result);
    Py_DECREF(tick);
}

static int ended(unsigned run) { return sampler.stopping || sampler.run != run; }

/* Sleep until it is time; 1 = go on. */
static int sleep_until(uint64_t due_ns, unsigned run) {
    struct timespec at = {(time_t)(due_ns / 1000000000ull), (long)(due_ns % 1000000000ull)};
    pthread_mutex_lock(&sampler.lock);
    while (!ended(run) && pthread_cond_timedwait(&sampler.wake, &sampler.lock, &at) != ETIMEDOUT) {}
    int stop = ended(run);
    pthread_mutex_unlock(&sampler.lock);
    return !stop;
}

static void one_round(const PyThreadState *me, uint64_t due_ns, uint64_t *next_tick_ns) {
    uint64_t t = now_ns(), before = sampler.last_ns;
    if (t - before > sampler.largest_gap_ns) sampler.largest_gap_ns = t - before;
    sampler.late_ns += t > due_ns ? t - due_ns : 0;
    size_t n = sampler.counters_only ? 0 : look(me);
    for (size_t i = 0; i < n; i++) write_sample(&seen[i], t, before);
    sampler.last_ns = t;
    sampler.rounds++;
    span_clock_sync();
    if (sampler.tick_ns && t >= *next_tick_ns) {
        call_tick();
        *next_tick_ns = t + sampler.tick_ns;
    }
    sampler.busy_ns += now_ns() - t;
}

/* When the interpreter is shut down under us, nothing of it may be touched: taking the GIL would end this thread, or wait for ever. */
static int is_finalizing(void) {
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing();
#else
    return _Py_IsFinalizing();
#endif
}

static void *sample(void *number) {
    unsigned run = (unsigned)(uintptr_t)number;
    pthread_setname_np(pthread_self(), "tinytrace-stack");
    PyThreadState *me = PyThreadState_New(sampler.interpreter);
    if (!me) return NULL;
    uint64_t due = now_ns() + draw_sleep(), next_tick = 0;
    PyEval_RestoreThread(me);
    call_tick(); /* the counters' first values */
    next_tick = now_ns() + sampler.tick_ns;
    PyEval_SaveThread();
    while (sleep_until(due, run)) {
        if (is_finalizing()) return NULL;
        PyEval_RestoreThread(me);
        int go_on = rec.active && !ended(run);
        if (go_on) one_round(me, due, &next_tick);
        PyEval_SaveThread();
        if (!go_on) break;
        due = now_ns() + draw_sleep();
    }
    if (is_finalizing()) return NULL;
    PyEval_RestoreThread(me);
    PyThreadState_Clear(me);
    PyThreadState_DeleteCurrent();
    return NULL;
}

static PyObject *sampler_start(PyObject *module, PyObject *args) {
    double rate_hz, tick_seconds;
    PyObject *tick;
    unsigned long long seed;
    if (!PyArg_ParseTuple(args, "dOdK", &rate_hz, &tick, &tick_seconds, &seed)) return NULL;
    if (sampler.running) { PyErr_SetString(PyExc_RuntimeError, "the sampler is running"); return NULL; }
    if (!(rate_hz >= 0) || !(rate_hz > 0 || tick_seconds > 0)) { PyErr_SetString(PyExc_ValueError, "neither a rate nor a tick"); return NULL; }
    if (!sampler.ready) {
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&sampler.wake, &attributes);
        pthread_condattr_destroy(&attributes);
        sampler.ready = 1;
    }
    sampler.counters_only = rate_hz == 0;
    sampler.period_ns = (uint64_t)(rate_hz > 0 ? 1e9 / rate_hz : tick_seconds * 1e9);
    sampler.tick_ns = (uint64_t)(tick_seconds * 1e9);
    sampler.random = seed | 1;
    Py_XSETREF(sampler.tick, tick == Py_None ? NULL : Py_NewRef(tick));
    sampler.samples = sampler.rounds = sampler.largest_gap_ns = sampler.late_ns = sampler.busy_ns = 0;
    sampler.started_ns = sampler.last_ns = now_ns();
    sampler.stopping = 0;
    sampler.run++;
    sampler.interpreter = PyInterpreterState_Get();
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&sampler.thread, NULL, sample, (void *)(uintptr_t)sampler.run);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    sampler.running = 1;
    Py_RETURN_NONE;
}

static PyObject *sampler_stop(PyObject *module, PyObject *unused) {
    if (!sampler.running) Py_RETURN_NONE;
    pthread_mutex_lock(&sampler.lock);
    sampler.stopping = 1;
    pthread_cond_signal(&sampler.wake);
    pthread_mutex_unlock(&sampler.lock);
    sampler.running = 0; /* before another thread may come here */
    pthread_t thread = sampler.thread;
    if (pthread_equal(thread, pthread_self())) { /* from a finalizer that ran in the tick: it ends when it returns there */
        pthread_detach(thread);
    } else {
        Py_BEGIN_ALLOW_THREADS
        pthread_join(thread, NULL);
        Py_END_ALLOW_THREADS
    }
    if (!sampler.running) Py_CLEAR(sampler.tick);
    Py_RETURN_NONE;
}

static PyObject *sampler_stats(PyObject *module, PyObject *unused) {
    uint64_t span = sampler.last_ns - sampler.started_ns;
    return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:K}", "samples", sampler.samples, "rounds", sampler.rounds, "sampled_ns", span,
                         "largest_gap_ns", sampler.largest_gap_ns, "late_ns", sampler.late_ns, "busy_ns", sampler.busy_ns);
}

/* After fork, in the child: the thread is gone, and the interpreter has freed its state. */
void sampler_forget(void) {
    pthread_mutex_init(&sampler.lock, NULL);
    sampler.ready = sampler.running = sampler.stopping = 0;
    sampler.tick = NULL;
}

/* Python's own files give up the GIL for every call. The program may then begin something long that keeps it, and the sampling
   thread would wait inside its tick: when that is over, the next look would come too late to see what it was. */
static PyObject *resident_bytes(PyObject *module, PyObject *unused) {
    char text[128];
    long long pages;
    int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (file < 0) Py_RETURN_NONE;
    ssize_t n = read(file, text, sizeof text - 1);
    close(file);
    if (n <= 0) Py_RETURN_NONE;
    text[n] = 0;
    if (sscanf(text, "%*s %lld", &pages) != 1) Py_RETURN_NONE;
    return PyLong_FromLongLong(pages * sysconf(_SC_PAGESIZE));
}

PyMethodDef tt_sampler_methods[] = {
    {"sampler_start", sampler_start, METH_VARARGS, "sampler_start(rate_hz, tick, tick_seconds, seed): start the sampling thread; rate 0: it only ticks."},
    {"sampler_stop", sampler_stop, METH_NOARGS, "Stop the sampling thread and wait for it."},
    {"resident_bytes", resident_bytes, METH_NOARGS, "resident_bytes() -> memory of the process, or None; keeps the GIL"},
    {"sampler_stats", sampler_stats, METH_NOARGS, "samples, rounds, sampled_ns, largest_gap_ns, late_ns, busy_ns."},
    {NULL, NULL, 0, NULL}};
