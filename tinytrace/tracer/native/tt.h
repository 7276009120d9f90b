/* The compiled core: what its files share. The layouts repeat tinytrace/tracer/records.py, which explains them. */
#ifndef TINYTRACE_H
#define TINYTRACE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#ifdef Py_GIL_DISABLED
#error "the compiled core relies on the GIL; without it the pure-Python recorder is used"
#endif

enum { FORMAT_VERSION = 2, SEGMENT_HEADER_BYTES = 64, RECORD_BYTES = 32, RESERVE_BYTES = 65536 };
enum stream { STREAM_SPANS = 1, STREAM_SAMPLES = 2, STREAM_COUNTERS = 3, STREAM_FLOWS = 4 };
enum kind { KIND_OP = 0, KIND_SPAN = 1, KIND_STEP = 2, KIND_INSTANT = 8, KIND_LABELLED_OP = 9 };
enum flag { FLAG_OPEN = 1, FLAG_RAISED = 2, FLAG_DETACHED = 4 };
enum entry { ENTRY_META = 1, ENTRY_THREAD, ENTRY_OP, ENTRY_SIGNATURE, ENTRY_SITE, ENTRY_STACK, ENTRY_LABEL, ENTRY_SERIES, ENTRY_WARNING };
enum layout { LAYOUT_C = 0, LAYOUT_F, LAYOUT_STRIDED, LAYOUT_NUMPY_SCALAR, LAYOUT_PYTHON_SCALAR, LAYOUT_OTHER, LAYOUT_SWAPPED = 128 };
enum policy { POLICY_ATTRIBUTES = 1, POLICY_COPIES_ONLY = 2, POLICY_EXPONENT = 4, POLICY_WRITES_SELF = 8, POLICY_WRITES_FIRST_ARGUMENT = 16, POLICY_OPAQUE = 32, POLICY_FIRST_IS_OPERAND = 64 };
enum { FIRST_SPANS = 4096, LATER_SPANS = 65536, FIRST_OTHERS = 2048, OTHER_RECORDS = 16384 };
enum { FIRST_BYTES = SEGMENT_HEADER_BYTES + FIRST_SPANS * RECORD_BYTES, SPARE_BYTES = SEGMENT_HEADER_BYTES + LATER_SPANS * RECORD_BYTES };
enum { MIN_DISK_LIMIT_BYTES = 4000000, DISK_SHARES = 8, MAX_TABLES_BYTES = 256000000, MAX_FOLD_BYTES = 8000000, BASE_BYTES = 131072, BLOCK_BYTES = 4096, NAME_BYTES = 64 };
enum { NO_ALIAS = 255, MAX_OPERANDS = 12, MAX_NDIM = 64, MAX_ATTRIBUTE_BYTES = 120, MAX_DEPTH = 512 };

typedef struct { uint64_t start_ns, dur_ns; uint32_t what, site, parent; uint8_t kind, flags; uint16_t zero; } span_record;
typedef struct { uint64_t t_ns, weight_ns; uint32_t cpu_ns, thread, stack, cpu_high; } sample_record;
typedef struct { uint64_t t_ns; double value; uint32_t series, zero; uint64_t zero2; } counter_record;
typedef struct { uint64_t t_ns, source, target; uint32_t label, zero; } flow_record; /* source, target: TOKEN() + 1 */
typedef struct {
    char magic[8]; uint16_t version, stream; uint32_t record_bytes, capacity, thread, number, pid;
    uint64_t first_index, created_ns; uint32_t folded, first_number; uint64_t folded_records; /* spans: 0, outer label, its index */
} segment_header;
typedef struct {
    uint32_t what, site, kind, outer; uint64_t count, ended, leaves, total_ns, self_ns, min_ns, max_ns, start_ns, end_ns;
} sum_record;

enum { LAST_OF_ALL = 2 };
typedef struct segment {
    char *map; size_t bytes; uint32_t stream, thread, number, capacity; uint64_t first_index;
    uint32_t open;             /* spans in it that have not ended */
    uint32_t used;             /* of a thread that has ended: records in it; 0 = all */
    int retired;               /* no slot left; LAST_OF_ALL: closed with the recording, and never folded */
    struct segment *next;      /* the keeper's queues */
} segment;

/* One stream of records with one writer at a time. */
typedef struct { uint32_t stream, thread, number, position; segment *current; uint64_t written; } stream_writer;

typedef struct { span_record *record; segment *home; uint64_t index; uint32_t children; } open_span;

typedef struct thread_state {
    uint32_t index, generation, depth, opaque; uint64_t tid, ident, created_ns;
    stream_writer spans;
    int named, watched;                   /* watched: `ended` is set when the thread ends */
    volatile int ended;
    uint64_t sampled_ns, sampled_cpu_ns;  /* the sampler's: when it last saw this thread, its CPU clock then */
    open_span stack[MAX_DEPTH];
    struct thread_state *next;
} thread_state;

/* The state of the recording; one per process. Everything but `active` and the keeper's part is guarded by the GIL. */
typedef struct {
    volatile int active;
    int error;                 /* errno of what ended the recording, 0 = none */
    uint32_t generation;
    int tables_fd, folder_fd;
    uint64_t tables_bytes, disk_limit_bytes;
    thread_state *threads; uint32_t n_threads;
    stream_writer samples, counters, flows;
    uint64_t spans, dropped, skipped_elements, sites_left_out, signatures_left_out, stacks_left_out;
    volatile uint64_t folded_spans, folded_segments, folded_samples, folded_counters, folded_flows;
    uint64_t names_left_out, sums_bytes; /* sums_bytes: the keeper's */
    int no_room_said;
} recording;
extern recording rec;

/* How much may be interned: tinytrace/tracer/caps.py. Of the core, not of a recording. */
typedef struct { unsigned sites, signatures, bare_signatures, stacks; unsigned long long name_bytes; } cap_numbers;
extern cap_numbers caps;

/* How the disk limit is shared out; tinytrace/tracer/disk_limit.py says why. */
static inline uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t on_disk(uint64_t bytes) { return (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES + NAME_BYTES; }
static inline uint64_t disk_share(void) { return rec.disk_limit_bytes / DISK_SHARES; }
static inline uint64_t tables_room(void) { return smaller(disk_share(), MAX_TABLES_BYTES); }
static inline int tables_full(uint64_t entry_bytes) { return rec.tables_bytes + entry_bytes > tables_room(); }
static inline uint64_t fold_room(void) { return smaller(disk_share(), MAX_FOLD_BYTES); }
static inline uint64_t disk_room(void) { return rec.disk_limit_bytes - tables_room() - fold_room() - RESERVE_BYTES - BASE_BYTES; }
static inline uint64_t disk_ahead(void) { return smaller(disk_share(), on_disk(SPARE_BYTES)); }

/* files.c: the two descriptors above */
int files_keep(const char *folder); /* 0, or -1 and errno */
int files_ours(void);               /* before any use of them; 0, or -1 and errno */
int files_out_of_the_way(int fd);   /* the same file under a high number; −1 stays −1 */
void files_close(void);
void files_forget(void);            /* after fork, in the child */

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* clock.c: the clock of spans, which is CLOCK_MONOTONIC read in a cheaper way where there is one. With the GIL. */
#if defined(__x86_64__) && defined(__linux__)
#define HAVE_COUNTER 1
#include <x86intrin.h>
static inline uint64_t counter_ticks(void) { return __rdtsc(); }
#endif
typedef struct { uint64_t base_ticks, base_ns, per_tick; int on; } span_clock_state; /* per_tick: ns, 32.32 bits */
extern span_clock_state span_clock;
void span_clock_start(void);
void span_clock_sync(void);
static inline uint64_t span_clock_at(uint64_t ticks) {
    return span_clock.base_ns + (uint64_t)((unsigned __int128)(ticks - span_clock.base_ticks) * span_clock.per_tick >> 32);
}
static inline uint64_t span_now_ns(void) {
#ifdef HAVE_COUNTER
    uint64_t ticks = counter_ticks();
    /* Long after the last sync (the GIL was held, the machine slept) the counter is not trusted. */
    if (span_clock.on && ticks - span_clock.base_ticks < 1ull << 33) return span_clock_at(ticks);
#endif
    return now_ns();
}

/* The time of a record, written when all else of it is: this makes it a record, whenever the process is killed. */
static inline void record_time(uint64_t *first_word, uint64_t ns) { __atomic_store_n(first_word, ns, __ATOMIC_RELEASE); }

static inline uint64_t mix(uint64_t h, uint64_t v) {
    h = (h ^ v) * 0x9E3779B97F4A7C15ull;
    return h ^ (h >> 29);
}

/* store.c: files */
void store_fail(int error);
int store_open(const char *folder, uint64_t disk_limit_bytes);
void store_close(void);
void store_put(int entry, const void *head, size_t head_bytes, const void *tail, size_t tail_bytes);
int writer_roll(stream_writer *w);
void writer_retire(stream_writer *w); /* nothing more is written to it */
void segment_release(segment *s);   /* its last open span has ended, or it is full and has none */
static inline void *writer_next(stream_writer *w) {
    if ((!w->current || w->position == w->current->capacity) && writer_roll(w) != 0) return NULL;
    w->written++;
    return w->current->map + SEGMENT_HEADER_BYTES + (size_t)w->position++ * RECORD_BYTES;
}

/* keeper.c: a thread without the GIL that prepares, closes and folds segments */
int keeper_start(void);
void keeper_stop(void);
segment *keeper_take_spare(int later, const char **name);
int keeper_reserve(size_t bytes, int large);
void keeper_give_back(size_t bytes);
void keeper_close(segment *s);
void keeper_forget(void);           /* after fork, in the child */
char *segment_path(char *buffer, size_t size, uint32_t stream, uint32_t thread, uint32_t number);
segment *segment_make(const char *name, size_t bytes);

/* fold.c: the keeper's; how many bytes the files have grown, or FOLD_FAILED */
typedef struct closed { uint32_t stream, thread, first, number, level; size_t bytes; struct closed *next; } closed; /* level: how often it was folded */
#define FOLD_FAILED INT64_MIN
int64_t fold_spans(closed *c, uint64_t may_grow_bytes);
int64_t fold_records(closed *first, closed *last); /* one, or two neighbours */

/* spans.c: threads and their spans */
thread_state *thread_create(void);
thread_state *thread_of(uint64_t ident, uint64_t tid);
int threads_let_go(void);
extern _Thread_local thread_state *thread_self __attribute__((tls_model("initial-exec")));
static inline thread_state *thread_current(void) {
    thread_state *t = thread_self;
    return t && t->generation == rec.generation ? t : thread_create();
}
open_span *span_begin(thread_state *t, int kind, uint32_t what, uint32_t site, uint64_t start_ns);
/* Whether a span may be written to: meanwhile recording may have ended, its map be gone, or this be the child of a fork. */
int span_is_open(const thread_state *t, const span_record *record);
static inline int span_is_top(const thread_state *t, const span_record *record) {
    return t->depth && t->stack[t->depth - 1].record == record && t->generation == rec.generation;
}
void span_end(thread_state *t, span_record *record, uint64_t end_ns, int flags);
void span_discard(thread_state *t, span_record *record);
int span_end_token(uint64_t token, int flags);
span_record *span_of_token(uint64_t token);
#define TOKEN(t, index_) (((uint64_t)(t)->index << 40) | (index_))

/* intern.c: ids for sites, signatures and stacks */
typedef struct { PyCodeObject *code; int lasti; uint32_t id; } site_hint; /* where the same hook was called from last */
uint32_t site_of_caller(site_hint *hint);
uint32_t stack_of(PyThreadState *tstate);
typedef struct { const uint64_t *key; uint32_t id; } signature_hint; /* the last one; NULL: there was none yet */
uint32_t signature_id(const uint64_t *key, uint32_t words, signature_hint *hint); /* hint: may be NULL */
int intern_internal_prefixes(PyObject *prefixes, PyObject *ours);
void intern_reset(void);
typedef struct { uint32_t id, flags; } site;
enum { SITE_INTERNAL = 1, SITE_OURS = 2 };
site site_intern(PyCodeObject *code, int lasti);

/* Who is told when code is met that was not met before: classes may have been made since. module.c, called by hooks and marks. */
extern int new_place;
void place_met(void);

extern PyMethodDef tt_hook_methods[];    /* hooks.c, NumPy */
extern PyMethodDef tt_sampler_methods[]; /* sampler.c */
extern PyMethodDef tt_event_methods[];   /* events.c */
extern PyMethodDef tt_json_methods[];    /* json.c */
extern PyMethodDef tt_json_write_methods[]; /* json_write.c */
extern PyMethodDef tt_around_methods[];  /* around.c */
extern PyMethodDef tt_record_methods[];  /* module.c's own */
void sampler_forget(void);
#endif
