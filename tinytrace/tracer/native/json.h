/* The lines of spans in the trace JSON, as text: what json.c and json_write.c share. A line is
 *
 *     {"ph":"X","ts":12.345,"dur":1.000,"args":{"step":3,"":17,…
 *
 * Everything after the step is the same for all spans of one key and comes as ready bytes, the end of
 * the line included. Times are integer nanoseconds here and microseconds with exactly three decimals
 * in the text. */
#ifndef TINYTRACE_JSON_H
#define TINYTRACE_JSON_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define HEAD "{\"ph\":\"X\",\"ts\":"
#define DUR ",\"dur\":"
#define ARGS ",\"args\":{"
#define STEP "\"step\":"
#define LEN(text) (sizeof(text) - 1)
/* Longest start of a line: the texts above, two times of 20 digits and a point, a step, a comma. */
#define MAX_START (LEN(HEAD) + LEN(DUR) + LEN(ARGS) + LEN(STEP) + 2 * 21 + 12)

/* Several contiguous buffers of items of these sizes, equally long; -1 and an exception if they are not. All or none
 * are held afterwards. */
int json_columns(PyObject *const *objects, Py_buffer *views, const Py_ssize_t *sizes, int n, Py_ssize_t *count);
void json_release(Py_buffer *views, int n);

static inline int64_t i64_at(const Py_buffer *view, Py_ssize_t row) {
    int64_t value;
    memcpy(&value, (const char *)view->buf + row * 8, 8);
    return value;
}

static inline int32_t i32_at(const Py_buffer *view, Py_ssize_t row) {
    int32_t value;
    memcpy(&value, (const char *)view->buf + row * 4, 4);
    return value;
}

static inline char *put_text(char *p, const char *text, size_t n) {
    memcpy(p, text, n);
    return p + n;
}

static inline char *put_unsigned(char *p, uint64_t value) {
    char digits[20];
    int n = 0;
    do {
        digits[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    while (n) *p++ = digits[--n];
    return p;
}

static inline char *put_time(char *p, uint64_t ns) {
    p = put_unsigned(p, ns / 1000);
    unsigned rest = (unsigned)(ns % 1000);
    *p++ = '.';
    *p++ = (char)('0' + rest / 100);
    *p++ = (char)('0' + rest / 10 % 10);
    *p++ = (char)('0' + rest % 10);
    return p;
}

static inline char *put_line(char *p, int64_t start_ns, int64_t dur_ns, int32_t step, const char *rest, size_t n_rest) {
    p = put_text(p, HEAD, LEN(HEAD));
    p = put_time(p, (uint64_t)start_ns);
    p = put_text(p, DUR, LEN(DUR));
    p = put_time(p, (uint64_t)dur_ns);
    p = put_text(p, ARGS, LEN(ARGS));
    if (step >= 0) {
        p = put_text(p, STEP, LEN(STEP));
        p = put_unsigned(p, (uint64_t)step);
        *p++ = ',';
    }
    return put_text(p, rest, n_rest);
}

/* How many bytes the lines may take, or -1 and an exception for a value that cannot be written. `rests`: a list or
 * tuple; columns: start_ns, dur_ns, key, step. */
Py_ssize_t json_bound(PyObject *rests, const Py_buffer *v, Py_ssize_t rows);
#endif
