/* A thread that never holds the GIL: it has the next segment ready, closes full ones, and folds old ones to bound the disk. */
#define _GNU_SOURCE 1
#include "tt.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static pthread_t keeper;
static int running, stopping, want_spare;
static segment *spare, *full, **full_end = &full; /* guarded by `lock` */

/* Closed span segments that are whole on disk, oldest first, and the sums of those that are not: the keeper's own. */
typedef struct closed { uint32_t thread, number; size_t bytes; struct closed *next; } closed;
static closed *whole, **whole_end = &whole;
typedef struct sums { uint32_t thread, count, capacity, folded, last; sum_record *records; uint32_t *slots; struct sums *next; } sums;
static sums *all_sums;
enum { KEEP_FIRST_SEGMENTS = 2, MAX_SUMS = 1 << 16 };

static sums *sums_of(uint32_t thread) {
    for (sums *s = all_sums; s; s = s->next) if (s->thread == thread) return s;
    sums *s = calloc(1, sizeof *s);
    if (!s || !(s->records = malloc(MAX_SUMS * sizeof *s->records)) || !(s->slots = calloc(2 * MAX_SUMS, sizeof *s->slots))) return NULL;
    s->thread = thread;
    s->next = all_sums;
    return all_sums = s;
}

static sum_record *sum_find(sums *s, uint32_t what, uint32_t site, uint32_t kind) {
    uint64_t h = mix(mix(mix(0, what), site), kind);
    for (uint64_t i = h % (2 * MAX_SUMS);; i = (i + 1) % (2 * MAX_SUMS)) {
        if (!s->slots[i]) {
            if (s->count == MAX_SUMS - 1 && (what || site)) return sum_find(s, 0, 0, kind); /* "others" */
            sum_record *r = &s->records[s->count++];
            *r = (sum_record){.what = what, .site = site, .kind = kind, .min_ns = UINT64_MAX};
            s->slots[i] = s->count;
            return r;
        }
        sum_record *r = &s->records[s->slots[i] - 1];
        if (r->what == what && r->site == site && r->kind == kind) return r;
    }
}

static int sums_write(sums *s) {
    char name[64], temporary[80];
    snprintf(name, sizeof name, "sums-%u.tt", s->thread);
    snprintf(temporary, sizeof temporary, "%s.new", name);
    struct { char magic[8]; uint32_t version, last, thread, count, folded, zero; } head =
        {.version = FORMAT_VERSION, .last = s->last, .thread = s->thread, .count = s->count, .folded = s->folded};
    memcpy(head.magic, "TTSUMMA1", 8);
    int fd = openat(rec.folder_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    size_t bytes = s->count * sizeof *s->records;
    int ok = write(fd, &head, sizeof head) == sizeof head && write(fd, s->records, bytes) == (ssize_t)bytes;
    close(fd);
    return ok && renameat(rec.folder_fd, temporary, rec.folder_fd, name) == 0 ? 0 : -1;
}

/* What `spans` says, summed by (signature, site, kind). A parent in an earlier segment keeps its whole time there. */
static void sum_spans(sums *s, const span_record *spans, uint32_t n, uint64_t *child_ns, uint8_t *has_op) {
    memset(child_ns, 0, n * sizeof *child_ns);
    memset(has_op, 0, n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t up = spans[i].parent;
        if (!spans[i].start_ns || !up || up > i) continue;
        child_ns[i - up] += spans[i].dur_ns;
        if (spans[i].kind == KIND_OP || spans[i].kind == KIND_LABELLED_OP) has_op[i - up] = 1;
    }
    for (uint32_t i = 0; i < n; i++) {
        const span_record *x = &spans[i];
        if (!x->start_ns) continue;
        sum_record *r = sum_find(s, x->what, x->site, x->kind);
        r->count++;
        r->leaves += !has_op[i];
        r->total_ns += x->dur_ns;
        r->self_ns += x->dur_ns > child_ns[i] ? x->dur_ns - child_ns[i] : 0;
        if (x->dur_ns < r->min_ns) r->min_ns = x->dur_ns;
        if (x->dur_ns > r->max_ns) r->max_ns = x->dur_ns;
        if (!r->start_ns || x->start_ns < r->start_ns) r->start_ns = x->start_ns;
        if (x->start_ns + x->dur_ns > r->end_ns) r->end_ns = x->start_ns + x->dur_ns;
        rec.folded_spans++;
    }
}

static int fold(const closed *c) {
    char name[64];
    segment_path(name, sizeof name, STREAM_SPANS, c->thread, c->number);
    int fd = openat(rec.folder_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    char *map = mmap(NULL, c->bytes, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    uint32_t n = (uint32_t)((c->bytes - SEGMENT_HEADER_BYTES) / RECORD_BYTES);
    uint64_t *child_ns = malloc(n * sizeof *child_ns);
    uint8_t *has_op = malloc(n);
    sums *s = sums_of(c->thread);
    int done = map != MAP_FAILED && child_ns && has_op && s;
    if (done) {
        sum_spans(s, (const span_record *)(map + SEGMENT_HEADER_BYTES), n, child_ns, has_op);
        s->last = c->number;
        s->folded++;
        done = sums_write(s) == 0 && unlinkat(rec.folder_fd, name, 0) == 0;
    }
    if (map != MAP_FAILED) munmap(map, c->bytes);
    free(child_ns);
    free(has_op);
    return done ? 0 : -1;
}

/* Fold the oldest segments, each thread's first two left out, until the limit holds. */
static void bound_disk(void) {
    closed **link = &whole;
    if (files_ours() != 0) return;
    while (rec.closed_bytes > rec.disk_limit_bytes && *link) {
        closed *c = *link;
        if (c->number < KEEP_FIRST_SEGMENTS) { link = &c->next; continue; }
        if (fold(c) != 0) return; /* tried again after the next segment */
        rec.closed_bytes -= c->bytes;
        rec.folded_segments++;
        *link = c->next;
        if (!*link) whole_end = link;
        free(c);
    }
}

static void close_segment(segment *s) {
    munmap(s->map, s->bytes);
    rec.closed_bytes += s->bytes;
    closed *c = s->stream == STREAM_SPANS ? malloc(sizeof *c) : NULL;
    if (c) {
        *c = (closed){s->thread, s->number, s->bytes, NULL};
        *whole_end = c;
        whole_end = &c->next;
    }
    free(s);
}

/* The first write to a page of a file costs a microsecond: have the spare's pages written to before they are needed. */
static void touch(segment *s) {
    for (size_t at = 0; at < s->bytes; at += 4096) *(volatile char *)(s->map + at) = 0;
}

static void *keep(void *unused) {
    pthread_setname_np(pthread_self(), "tinytrace-store");
    pthread_mutex_lock(&lock);
    while (!stopping || full) {
        if (!full && !want_spare) { pthread_cond_wait(&wake, &lock); continue; }
        segment *done = full;
        int make = want_spare && !spare && !stopping;
        full = NULL;
        full_end = &full;
        want_spare = 0;
        pthread_mutex_unlock(&lock);
        segment *made = make ? segment_make("spare", SPARE_BYTES) : NULL;
        if (made) touch(made);
        while (done) { segment *next = done->next; close_segment(done); done = next; }
        bound_disk();
        pthread_mutex_lock(&lock);
        if (made) spare = made;
    }
    pthread_mutex_unlock(&lock);
    return unused;
}

int keeper_start(void) {
    sigset_t all, before;
    stopping = want_spare = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the program's signals go to the program's threads */
    int error = pthread_create(&keeper, NULL, keep, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    running = !error;
    if (error) errno = error;
    return error ? -1 : 0;
}

void keeper_stop(void) {
    if (!running) return;
    pthread_mutex_lock(&lock);
    stopping = 1;
    pthread_cond_signal(&wake);
    pthread_mutex_unlock(&lock);
    pthread_join(keeper, NULL);
    if (spare) {
        munmap(spare->map, spare->bytes);
        if (files_ours() == 0) unlinkat(rec.folder_fd, "spare", 0);
        free(spare);
    }
    while (whole) { closed *next = whole->next; free(whole); whole = next; }
    while (all_sums) { sums *next = all_sums->next; free(all_sums->records); free(all_sums->slots); free(all_sums); all_sums = next; }
    keeper_forget();
}

/* In a forked child nothing of the parent's may be touched: its maps are shared, its lock may be held. */
void keeper_forget(void) {
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&wake, NULL);
    running = stopping = want_spare = 0;
    spare = full = NULL;
    full_end = &full;
    whole = NULL;
    whole_end = &whole;
    all_sums = NULL;
}

segment *keeper_take_spare(size_t bytes) {
    pthread_mutex_lock(&lock);
    segment *s = bytes == SPARE_BYTES ? spare : NULL;
    if (s) spare = NULL;
    want_spare = running;
    pthread_cond_signal(&wake);
    pthread_mutex_unlock(&lock);
    return s;
}

void keeper_close(segment *s) {
    pthread_mutex_lock(&lock);
    s->next = NULL;
    *full_end = s;
    full_end = &s->next;
    pthread_cond_signal(&wake);
    pthread_mutex_unlock(&lock);
}
