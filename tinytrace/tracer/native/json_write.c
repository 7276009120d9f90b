/* The span lines of the trace JSON, rendered and written to a file by a thread that needs no interpreter: meanwhile
 * the interpreter sees to the rest of the file.
 *
 * What is to be written comes as texts, each followed by a range of rows (which may be empty). The texts, the rests of
 * the lines and the columns are held until the thread has ended. */
#include "json.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

enum { N_COLUMNS = 4, BUFFER_BYTES = 1 << 20 }; /* the buffer stays in the cache of the core that fills it */
#define CAPSULE "tinytrace.json_write"

typedef struct {
    int fd, started, error;
    atomic_int cancelled;
    atomic_llong rows_done;
    int ended; /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t has_ended;
    pthread_t thread;
    PyObject *texts, *rests;
    Py_buffer ranges, v[N_COLUMNS]; /* of rows: begin, end; start_ns, dur_ns, key, step */
    Py_ssize_t n_texts, rows;
    char *buffer;
    size_t used, longest; /* `longest`: of a line, at most */
} Job;

static int flush(Job *job) {
    const char *p = job->buffer, *end = p + job->used;
    job->used = 0;
    while (p < end) {
        ssize_t n = write(job->fd, p, (size_t)(end - p));
        if (n < 0 && errno != EINTR) { job->error = errno; return -1; }
        if (n > 0) p += n;
    }
    return 0;
}

static int put(Job *job, const char *text, size_t n) {
    while (n) {
        size_t room = BUFFER_BYTES - job->used, part = n < room ? n : room;
        memcpy(job->buffer + job->used, text, part);
        job->used += part;
        text += part;
        n -= part;
        if (job->used == BUFFER_BYTES && flush(job) < 0) return -1;
    }
    return 0;
}

static int put_rows(Job *job, int64_t begin, int64_t end) {
    for (Py_ssize_t row = begin; row < end; row++) {
        if (job->used + job->longest > BUFFER_BYTES) {
            if (flush(job) < 0) return -1;
            atomic_store(&job->rows_done, row);
            if (atomic_load(&job->cancelled)) { job->error = ECANCELED; return -1; }
        }
        PyObject *rest = PyTuple_GET_ITEM(job->rests, i32_at(&job->v[2], row));
        char *p = job->buffer + job->used;
        p = put_line(p, i64_at(&job->v[0], row), i64_at(&job->v[1], row), i32_at(&job->v[3], row),
                     PyBytes_AS_STRING(rest), (size_t)PyBytes_GET_SIZE(rest));
        job->used = (size_t)(p - job->buffer);
    }
    return 0;
}

static void *write_all(void *argument) {
    Job *job = argument;
    int going_on = 1;
    for (Py_ssize_t i = 0; going_on && i < job->n_texts; i++) {
        PyObject *text = PyTuple_GET_ITEM(job->texts, i);
        going_on = put(job, PyBytes_AS_STRING(text), (size_t)PyBytes_GET_SIZE(text)) == 0
                   && put_rows(job, i64_at(&job->ranges, 2 * i), i64_at(&job->ranges, 2 * i + 1)) == 0;
    }
    if (going_on && flush(job) == 0) atomic_store(&job->rows_done, job->rows);
    pthread_mutex_lock(&job->lock);
    job->ended = 1;
    pthread_cond_broadcast(&job->has_ended);
    pthread_mutex_unlock(&job->lock);
    return NULL;
}

/* Whether it has written everything or not: afterwards the file is the caller's again. */
static void stop(Job *job) {
    if (!job->started) return;
    job->started = 0;
    atomic_store(&job->cancelled, 1);
    Py_BEGIN_ALLOW_THREADS
    pthread_join(job->thread, NULL);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&job->ranges);
    json_release(job->v, N_COLUMNS);
}

static void forget(PyObject *capsule) {
    Job *job = PyCapsule_GetPointer(capsule, CAPSULE);
    stop(job);
    Py_XDECREF(job->texts);
    Py_XDECREF(job->rests);
    pthread_mutex_destroy(&job->lock);
    pthread_cond_destroy(&job->has_ended);
    free(job->buffer);
    free(job);
}

static int all_bytes(PyObject *items, size_t *longest) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items); i++) {
        PyObject *item = PyTuple_GET_ITEM(items, i);
        if (!PyBytes_Check(item)) { PyErr_SetString(PyExc_TypeError, "texts and rests must be bytes"); return -1; }
        if ((size_t)PyBytes_GET_SIZE(item) > *longest) *longest = (size_t)PyBytes_GET_SIZE(item);
    }
    return 0;
}

/* Everything that the thread will rely on; the columns are held already. */
static int check(Job *job, Py_ssize_t rows) {
    size_t longest_text = 0, longest_rest = 0;
    if (all_bytes(job->texts, &longest_text) < 0 || all_bytes(job->rests, &longest_rest) < 0) return -1;
    if (json_bound(job->rests, job->v, rows) < 0) return -1;
    job->longest = MAX_START + longest_rest;
    job->rows = rows;
    if (job->longest > BUFFER_BYTES || job->ranges.len != job->n_texts * 16) {
        PyErr_SetString(PyExc_ValueError, "a line that is too long, or not a range of rows for each text");
        return -1;
    }
    for (Py_ssize_t i = 0; i < job->n_texts; i++) {
        int64_t begin = i64_at(&job->ranges, 2 * i), end = i64_at(&job->ranges, 2 * i + 1);
        if (begin < 0 || begin > end || end > rows) { PyErr_SetString(PyExc_ValueError, "no such rows"); return -1; }
    }
    return 0;
}

static int start_thread(Job *job) {
    sigset_t all, before;
    if ((job->buffer = malloc(BUFFER_BYTES)) == NULL) { PyErr_NoMemory(); return -1; }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the program's signals go to the program's threads */
    int error = pthread_create(&job->thread, NULL, write_all, job);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) { errno = error; PyErr_SetFromErrno(PyExc_OSError); return -1; }
    job->started = 1;
    return 0;
}

static PyObject *json_write_start(PyObject *self, PyObject *args) {
    static const Py_ssize_t sizes[N_COLUMNS] = {8, 8, 4, 4};
    PyObject *texts, *rests, *ranges, *columns[N_COLUMNS];
    int fd;
    if (!PyArg_ParseTuple(args, "iO!OO!OOOO:json_write_start", &fd, &PyTuple_Type, &texts, &ranges, &PyTuple_Type, &rests,
                          &columns[0], &columns[1], &columns[2], &columns[3])) return NULL;
    Job *job = calloc(1, sizeof *job);
    if (job == NULL) return PyErr_NoMemory();
    pthread_mutex_init(&job->lock, NULL);
    pthread_condattr_t by_monotonic;
    pthread_condattr_init(&by_monotonic);
    pthread_condattr_setclock(&by_monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&job->has_ended, &by_monotonic);
    pthread_condattr_destroy(&by_monotonic);
    job->fd = fd;
    job->texts = Py_NewRef(texts);
    job->rests = Py_NewRef(rests);
    job->n_texts = PyTuple_GET_SIZE(texts);
    PyObject *capsule = PyCapsule_New(job, CAPSULE, forget);
    if (capsule == NULL) return NULL; /* no memory: that of the job does not matter any more */
    Py_ssize_t rows, any = -1;
    if (json_columns(columns, job->v, sizes, N_COLUMNS, &rows) == 0) {
        if (json_columns(&ranges, &job->ranges, &sizes[0], 1, &any) == 0) {
            if (check(job, rows) == 0 && start_thread(job) == 0) return capsule;
            PyBuffer_Release(&job->ranges);
        }
        json_release(job->v, N_COLUMNS);
    }
    Py_DECREF(capsule);
    return NULL;
}

static PyObject *json_write_wait(PyObject *self, PyObject *args) {
    PyObject *capsule;
    double seconds;
    if (!PyArg_ParseTuple(args, "Od:json_write_wait", &capsule, &seconds)) return NULL;
    Job *job = PyCapsule_GetPointer(capsule, CAPSULE);
    if (job == NULL) return NULL;
    struct timespec until;
    int ended;
    clock_gettime(CLOCK_MONOTONIC, &until);
    long long ns = until.tv_nsec + (long long)((seconds < 0 ? 0 : seconds > 3600 ? 3600 : seconds) * 1e9);
    until.tv_sec += ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&job->lock);
    while (!job->ended && pthread_cond_timedwait(&job->has_ended, &job->lock, &until) != ETIMEDOUT) {}
    ended = job->ended;
    pthread_mutex_unlock(&job->lock);
    Py_END_ALLOW_THREADS
    if (ended && job->error) { errno = job->error; return PyErr_SetFromErrno(PyExc_OSError); }
    return Py_BuildValue("OL", ended ? Py_True : Py_False, (long long)atomic_load(&job->rows_done));
}

static PyObject *json_write_stop(PyObject *self, PyObject *capsule) {
    Job *job = PyCapsule_GetPointer(capsule, CAPSULE);
    if (job == NULL) return NULL;
    stop(job);
    Py_RETURN_NONE;
}

PyMethodDef tt_json_write_methods[] = {
    {"json_write_start", json_write_start, METH_VARARGS,
     "json_write_start(fd, texts, ranges, rests, start_ns, dur_ns, key, step) -> job"},
    {"json_write_wait", json_write_wait, METH_VARARGS, "json_write_wait(job, seconds) -> (ended, rows written)"},
    {"json_write_stop", json_write_stop, METH_O, "json_write_stop(job): wait for its thread, which stops where it is."},
    {NULL, NULL, 0, NULL},
};
