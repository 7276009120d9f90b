/* Walking interpreter frames without creating frame objects: the only file that knows the layouts of each Python version.
   It comes before all other headers. */
#ifndef TINYTRACE_FRAMES_H
#define TINYTRACE_FRAMES_H
#if defined(__has_include)
#if __has_include(<internal/pycore_frame.h>)
#define HAVE_INTERNAL_FRAMES 1
#endif
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030E0000 && defined(HAVE_INTERNAL_FRAMES)
#define Py_BUILD_CORE 1
#include <internal/pycore_frame.h>
#undef Py_BUILD_CORE
#define FAST_FRAMES 1
#endif

#if defined(FAST_FRAMES)

static inline void *frame_top(PyThreadState *tstate) {
#if PY_VERSION_HEX >= 0x030D0000
    return tstate->current_frame;
#else
    return tstate->cframe ? tstate->cframe->current_frame : NULL; /* a foreign thread is listed before it is initialised */
#endif
}
static inline void *frame_next(void *frame) { return ((_PyInterpreterFrame *)frame)->previous; }
static inline PyCodeObject *frame_code(void *frame, int *lasti) {
    _PyInterpreterFrame *f = frame;
#if PY_VERSION_HEX >= 0x030C0000
    if (f->owner == FRAME_OWNED_BY_CSTACK) return NULL;
#endif
#if PY_VERSION_HEX >= 0x030D0000
    if (!f->f_executable || !PyCode_Check(f->f_executable)) return NULL;
    PyCodeObject *code = (PyCodeObject *)f->f_executable;
    *lasti = (int)(f->instr_ptr - _PyCode_CODE(code)) * (int)sizeof(_Py_CODEUNIT);
#else
    PyCodeObject *code = f->f_code;
    *lasti = (int)(f->prev_instr - _PyCode_CODE(code)) * (int)sizeof(_Py_CODEUNIT);
#endif
#if PY_VERSION_HEX >= 0x030C0000
    /* As Python itself does, pass over frames that have not begun; under an __init__ lies one that nobody wrote, and never does. */
    if (f->owner != FRAME_OWNED_BY_GENERATOR && *lasti < code->_co_firsttraceable * (int)sizeof(_Py_CODEUNIT)) return NULL;
#endif
    return code;
}

#elif PY_VERSION_HEX < 0x030B0000

#include <frameobject.h>
static inline void *frame_top(PyThreadState *tstate) { return tstate->frame; }
static inline void *frame_next(void *frame) { return ((PyFrameObject *)frame)->f_back; }
static inline PyCodeObject *frame_code(void *frame, int *lasti) {
    PyFrameObject *f = frame;
    *lasti = f->f_lasti * 2; /* counted in instructions of two bytes */
    return f->f_code;
}

#else
/* The public interface: frame objects, kept alive by their frames while those run. */
static inline void *frame_top(PyThreadState *tstate) {
    PyFrameObject *f = PyThreadState_GetFrame(tstate);
    Py_XDECREF(f);
    return f;
}
static inline void *frame_next(void *frame) {
    PyFrameObject *f = PyFrame_GetBack((PyFrameObject *)frame);
    Py_XDECREF(f);
    return f;
}
static inline PyCodeObject *frame_code(void *frame, int *lasti) {
    PyCodeObject *code = PyFrame_GetCode((PyFrameObject *)frame);
    *lasti = PyFrame_GetLasti((PyFrameObject *)frame);
    Py_XDECREF(code);
    return code;
}
#endif
#endif
