/* Hardware counters: a file per event (perf_event_open(2)), opened and read for tinytrace/tracer/hardware.py, which says what is
   counted. The same as EventFiles in tinytrace/tracer/event_files.py. Everything here keeps the GIL, as resident_bytes does. */
#define _GNU_SOURCE 1
#include "tt.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__linux__) && defined(SYS_perf_event_open)
/* Of perf_event_open(2): bytes of attributes, and PERF_FLAG_FD_CLOEXEC. */
enum { EVENT_BYTES = 64, EVENT_CLOSE_ON_EXEC = 8 };
#define ID_OF_EVENT _IOR('$', 7, uint64_t *) /* PERF_EVENT_IOC_ID */
static const char KIND[] = "anon_inode:[perf_event]";

/* All anonymous files (eventfd, epoll…) have the same inode: only the kernel's own number of an event tells whether this is it.
   And no file but an event is asked for such a number. */
static int is_event(int fd, uint64_t id) {
    char path[40], kind[sizeof KIND];
    uint64_t now = 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return readlink(path, kind, sizeof kind) == (ssize_t)sizeof KIND - 1 && !memcmp(kind, KIND, sizeof KIND - 1) &&
           ioctl(fd, ID_OF_EVENT, &now) == 0 && now == id;
}

static PyObject *event_open(PyObject *module, PyObject *args) {
    const char *attributes;
    Py_ssize_t n;
    uint64_t id = 0;
    if (!PyArg_ParseTuple(args, "y#", &attributes, &n)) return NULL;
    if (n != EVENT_BYTES) { PyErr_SetString(PyExc_ValueError, "64 bytes are needed"); return NULL; }
    int fd = files_out_of_the_way((int)syscall(SYS_perf_event_open, attributes, 0, -1, -1, EVENT_CLOSE_ON_EXEC));
    if (fd < 0) return PyErr_SetFromErrno(PyExc_OSError);
    if (ioctl(fd, ID_OF_EVENT, &id) != 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        close(fd);
        return NULL;
    }
    return Py_BuildValue("iK", fd, (unsigned long long)id);
}

static PyObject *event_read(PyObject *module, PyObject *args) {
    int fd;
    unsigned long long id;
    uint64_t words[4] = {0}; /* value, time enabled, time running, id */
    if (!PyArg_ParseTuple(args, "iK", &fd, &id)) return NULL;
    if (!is_event(fd, id) || read(fd, words, sizeof words) != (ssize_t)sizeof words || words[3] != id) Py_RETURN_NONE;
    return Py_BuildValue("KKK", (unsigned long long)words[0], (unsigned long long)words[1], (unsigned long long)words[2]);
}

static PyObject *event_close(PyObject *module, PyObject *args) {
    int fd;
    unsigned long long id;
    if (!PyArg_ParseTuple(args, "iK", &fd, &id)) return NULL;
    if (is_event(fd, id)) close(fd);
    Py_RETURN_NONE;
}

PyMethodDef tt_event_methods[] = {
    {"event_open", event_open, METH_VARARGS, "event_open(attributes) -> file number, the kernel's number of the event"},
    {"event_read", event_read, METH_VARARGS, "event_read(file, event) -> value, ns enabled, ns running; None: not this event any more"},
    {"event_close", event_close, METH_VARARGS, "event_close(file, event): close it, unless the program has done so."},
    {NULL, NULL, 0, NULL}};
#else
PyMethodDef tt_event_methods[] = {{NULL, NULL, 0, NULL}};
#endif
