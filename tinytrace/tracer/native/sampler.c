/* The sampling thread. It sleeps without the GIL, takes it for each sample, and weighs every sample by the time since the last. */
#define _GNU_SOURCE 1
#include "tt.h"
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <string.h>

static struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int running, stopping, counters_only;
    PyInterpreterState *interpreter;
    uint64_t period_ns, tick_ns, random;
    PyObject *tick; /* called about every tick_ns, with the GIL */
    uint64_t started_ns, last_ns, samples, rounds, largest_gap_ns, late_ns, busy_ns;
} sampler = {.lock = PTHREAD_MUTEX_INITIALIZER};

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

static void sample_thread(PyThreadState *tstate, uint64_t t_ns) {
    uint32_t stack = stack_of(tstate);
    thread_state *t = stack ? thread_of(tstate) : NULL; /* a thread that is just starting has no frame and no identity yet */
    if (!t) return;
    uint64_t cpu = thread_cpu_ns(t);
    uint64_t since = t->sampled_ns ? t->sampled_ns : t->created_ns > sampler.started_ns ? t->created_ns : sampler.started_ns;
    uint32_t used = UINT32_MAX;
    if (cpu && t->sampled_cpu_ns && cpu >= t->sampled_cpu_ns && cpu - t->sampled_cpu_ns < UINT32_MAX) used = (uint32_t)(cpu - t->sampled_cpu_ns);
    sample_record *r = writer_next(&rec.samples);
    if (!r) return;
    *r = (sample_record){0, t_ns > since ? t_ns - since : 0, used, t->index, stack, 0};
    r->t_ns = t_ns;
    t->sampled_ns = t_ns;
    t->sampled_cpu_ns = cpu;
    sampler.samples++;
}

static void call_tick(void) {
    if (!sampler.tick) return;
    PyObject *result = PyObject_CallNoArgs(sampler.tick);
    if (!result) PyErr_Clear();
    Py_XDECREF(result);
}

static void *sample(void *unused) {
    pthread_setname_np(pthread_self(), "tinytrace-stack");
    PyThreadState *me = PyThreadState_New(sampler.interpreter);
    if (!me) return unused;
    uint64_t due = now_ns() + draw_sleep();
    PyEval_RestoreThread(me);
    call_tick(); /* the counters' first values */
    PyEval_SaveThread();
    uint64_t next_tick = now_ns() + sampler.tick_ns;
    for (;;) {
        struct timespec at = {(time_t)(due / 1000000000ull), (long)(due % 1000000000ull)};
        pthread_mutex_lock(&sampler.lock);
        while (!sampler.stopping && pthread_cond_timedwait(&sampler.wake, &sampler.lock, &at) != ETIMEDOUT) {}
        int stop = sampler.stopping;
        pthread_mutex_unlock(&sampler.lock);
        if (stop) break;
        PyEval_RestoreThread(me);
        if (!rec.active || sampler.stopping) { PyEval_SaveThread(); break; }
        uint64_t t = now_ns(), gap = t - sampler.last_ns;
        if (gap > sampler.largest_gap_ns) sampler.largest_gap_ns = gap;
        sampler.late_ns += t > due ? t - due : 0;
        sampler.last_ns = t;
        sampler.rounds++;
        span_clock_sync();
        for (PyThreadState *o = sampler.counters_only ? NULL : PyInterpreterState_ThreadHead(sampler.interpreter); o; o = PyThreadState_Next(o))
            if (o != me) sample_thread(o, t);
        if (sampler.tick_ns && t >= next_tick) {
            call_tick();
            next_tick = t + sampler.tick_ns;
        }
        uint64_t done = now_ns();
        sampler.busy_ns += done - t;
        PyEval_SaveThread();
        due = done + draw_sleep();
    }
    PyEval_RestoreThread(me);
    PyThreadState_Clear(me);
    PyThreadState_DeleteCurrent();
    return unused;
}

static PyObject *sampler_start(PyObject *module, PyObject *args) {
    double rate_hz, tick_seconds;
    PyObject *tick;
    unsigned long long seed;
    if (!PyArg_ParseTuple(args, "dOdK", &rate_hz, &tick, &tick_seconds, &seed)) return NULL;
    if (sampler.running) { PyErr_SetString(PyExc_RuntimeError, "the sampler is running"); return NULL; }
    if (!(rate_hz >= 0) || !(rate_hz > 0 || tick_seconds > 0)) { PyErr_SetString(PyExc_ValueError, "neither a rate nor a tick"); return NULL; }
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&sampler.wake, &attributes);
    sampler.counters_only = rate_hz == 0;
    sampler.period_ns = (uint64_t)(rate_hz > 0 ? 1e9 / rate_hz : tick_seconds * 1e9);
    sampler.tick_ns = (uint64_t)(tick_seconds * 1e9);
    sampler.random = seed | 1;
    Py_XSETREF(sampler.tick, tick == Py_None ? NULL : Py_NewRef(tick));
    sampler.samples = sampler.rounds = sampler.largest_gap_ns = sampler.late_ns = sampler.busy_ns = 0;
    sampler.started_ns = sampler.last_ns = now_ns();
    sampler.stopping = 0;
    sampler.interpreter = PyInterpreterState_Get();
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&sampler.thread, NULL, sample, NULL);
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
    Py_BEGIN_ALLOW_THREADS
    pthread_join(sampler.thread, NULL);
    Py_END_ALLOW_THREADS
    sampler.running = 0;
    Py_CLEAR(sampler.tick);
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
    sampler.running = sampler.stopping = 0;
    sampler.tick = NULL;
}

PyMethodDef tt_sampler_methods[] = {
    {"sampler_start", sampler_start, METH_VARARGS, "sampler_start(rate_hz, tick, tick_seconds, seed): start the sampling thread; rate 0: it only ticks."},
    {"sampler_stop", sampler_stop, METH_NOARGS, "Stop the sampling thread and wait for it."},
    {"sampler_stats", sampler_stats, METH_NOARGS, "samples, rounds, sampled_ns, largest_gap_ns, late_ns, busy_ns."},
    {NULL, NULL, 0, NULL}};
