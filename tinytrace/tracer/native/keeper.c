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
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER, answered = PTHREAD_COND_INITIALIZER;
static pthread_t keeper;

/* All of this is guarded by `lock`. */
enum { SMALL, LARGE, SPARES };
static const char *const SPARE_NAME[SPARES] = {"spare-first", "spare"};
static const size_t SPARE_SIZE[SPARES] = {FIRST_BYTES, SPARE_BYTES};
static int running, stopping, want[SPARES];
static segment *spare[SPARES], *full, **full_end = &full;
static uint64_t open_bytes, closed_bytes; /* of the files of segments and sums: those written to, spare or on their way here; the others */
static uint64_t fold_bytes;               /* by how much a fold may make them grow */
static int asked, in_vain;                /* somebody waits for room; the last one did so in vain, and no segment was closed since */

/* Closed segments that are whole on disk and may be folded, in order of closing; how many segments of spans and flows never are: the keeper's own. */
static closed *whole, **whole_end = &whole;
static uint32_t kept[STREAM_FLOWS + 1]; /* of spans and of flows */
enum { WHOLE_SEGMENTS = 2 };

static uint64_t free_bytes(void) {
    uint64_t used = open_bytes + closed_bytes + fold_bytes, room = disk_room();
    return used < room ? room - used : 0;
}

static int over(void) {
    pthread_mutex_lock(&lock);
    int is_over = free_bytes() < disk_ahead();
    pthread_mutex_unlock(&lock);
    return is_over;
}

static int reserve(uint64_t bytes, int large) {
    if (free_bytes() < bytes || (large && open_bytes + bytes > disk_share())) return 0;
    open_bytes += bytes;
    return 1;
}

static void account(int64_t opened, int64_t closed) {
    pthread_mutex_lock(&lock);
    open_bytes += (uint64_t)opened;
    closed_bytes += (uint64_t)closed;
    pthread_mutex_unlock(&lock);
}

/* Two folded neighbours; those that were folded least, of these the oldest. */
static int find_pair(closed **first, closed **second) {
    uint32_t least = UINT32_MAX;
    for (uint32_t stream = STREAM_SAMPLES; stream <= STREAM_FLOWS; stream++) {
        closed *before = NULL;
        for (closed *c = whole; c; c = c->next) {
            if (c->stream != stream || !c->level) continue;
            uint32_t level = before && before->level > c->level ? before->level : c->level;
            if (before && level < least && before->bytes + c->bytes <= fold_room()) { least = level; *first = before; *second = c; }
            before = c;
        }
    }
    return least != UINT32_MAX;
}

static void forget(closed *c) {
    closed **link = &whole;
    while (*link != c) link = &(*link)->next;
    *link = c->next;
    if (!c->next) whole_end = link;
    free(c);
}

/* What is free may be used by a fold: a thread's sums can grow by more than the segment that goes into them. */
static int64_t fold(closed *c) {
    if (c->stream != STREAM_SPANS) return fold_records(c, c);
    pthread_mutex_lock(&lock);
    uint64_t may_grow = fold_bytes = free_bytes();
    pthread_mutex_unlock(&lock);
    return fold_spans(c, may_grow);
}

static void folded(int64_t grown) {
    pthread_mutex_lock(&lock);
    fold_bytes = 0;
    if (grown != FOLD_FAILED) closed_bytes += (uint64_t)grown;
    pthread_mutex_unlock(&lock);
}

/* Fold the oldest segments until the next ones have room. What fails is tried again after the next segment. 0 = they have room. */
static int bound_disk(void) {
    if (files_ours() != 0) return -1;
    for (closed *c = whole, *next; c && over(); c = next) {
        next = c->next;
        if (c->level) continue;
        int64_t grown = fold(c);
        folded(grown);
        if (grown == FOLD_FAILED) return -1;
        if (c->stream == STREAM_SPANS) forget(c);
    }
    closed *first, *second;
    while (over() && find_pair(&first, &second)) {
        int64_t grown = fold_records(first, second);
        folded(grown);
        if (grown == FOLD_FAILED) return -1;
        forget(first);
    }
    return over() ? -1 : 0;
}

/* A thread that has ended leaves most of its last segment empty: a program may start any number of threads. */
static void shorten(segment *s) {
    char name[64];
    size_t bytes = SEGMENT_HEADER_BYTES + (size_t)s->used * RECORD_BYTES;
    ((segment_header *)s->map)->capacity = s->used; /* first: a file that is too long is whole, one that is too short is not */
    int fd = files_ours() != 0 ? -1 : files_out_of_the_way(openat(rec.folder_fd, segment_path(name, sizeof name, s->stream, s->thread, s->number), O_WRONLY | O_CLOEXEC));
    munmap(s->map, s->bytes);
    if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0) s->bytes = bytes;
    if (fd >= 0) close(fd);
}

static void close_segment(segment *s) {
    int64_t opened = (int64_t)on_disk(s->bytes);
    if (s->used && s->used < s->capacity) shorten(s);
    else munmap(s->map, s->bytes);
    account(-opened, (int64_t)on_disk(s->bytes));
    int whole_for_good = s->retired == LAST_OF_ALL || ((s->stream == STREAM_SPANS || s->stream == STREAM_FLOWS) && kept[s->stream] < WHOLE_SEGMENTS);
    kept[s->stream]++;
    closed *c = whole_for_good ? NULL : malloc(sizeof *c);
    if (c) {
        *c = (closed){s->stream, s->thread, s->number, s->number, 0, s->bytes, NULL};
        *whole_end = c;
        whole_end = &c->next;
    }
    free(s);
}

/* The first write to a page of a file costs a microsecond: have the spare's pages written to before they are needed. */
static void touch(segment *s) { /* somebody may write to it already */
    for (size_t at = 0; at < s->bytes; at += 4096) __atomic_fetch_or((char *)s->map + at, 0, __ATOMIC_RELAXED);
}

static void make_spares(const int *make, segment **made) {
    for (int i = 0; i < SPARES; i++) {
        if (!make[i] || made[i]) continue;
        pthread_mutex_lock(&lock);
        int room = reserve(on_disk(SPARE_SIZE[i]), i == LARGE);
        pthread_mutex_unlock(&lock);
        if (!room) continue;
        made[i] = segment_make(SPARE_NAME[i], SPARE_SIZE[i]);
        if (!made[i]) account(-(int64_t)on_disk(SPARE_SIZE[i]), 0);
    }
}

static void *keep(void *first_large) {
    pthread_setname_np(pthread_self(), "tinytrace-store");
    if (first_large) touch(first_large);
    pthread_mutex_lock(&lock);
    while (!stopping || full) {
        if (!full && !asked && !want[SMALL] && !want[LARGE]) { pthread_cond_wait(&wake, &lock); continue; }
        segment *done = full, *made[SPARES] = {NULL, NULL};
        int make[SPARES], asking = asked;
        for (int i = 0; i < SPARES; i++) {
            make[i] = want[i] && !spare[i] && !stopping;
            want[i] = 0;
        }
        full = NULL;
        full_end = &full;
        pthread_mutex_unlock(&lock);
        make_spares(make, made);
        for (int i = 0; i < SPARES; i++) if (made[i]) touch(made[i]);
        while (done) { segment *next = done->next; close_segment(done); done = next; }
        int bounded = bound_disk();
        if (!asking) make_spares(make, made); /* those that there was no room for before */
        pthread_mutex_lock(&lock);
        for (int i = 0; i < SPARES; i++) {
            if (made[i]) spare[i] = made[i];
            else if (asking) want[i] |= make[i]; /* who waits comes first */
        }
        if (asking) {
            asked = 0;
            in_vain = bounded != 0 && !full;
            pthread_cond_broadcast(&answered);
        }
    }
    pthread_cond_broadcast(&answered);
    pthread_mutex_unlock(&lock);
    return NULL;
}

int keeper_start(void) {
    sigset_t all, before;
    static const int make[SPARES] = {1, 1};
    stopping = want[SMALL] = want[LARGE] = 0;
    /* Made here and not by the keeper, which would have the descriptors of the files just when the program opens its own
     * first one. The pages of the first thread's segment are written to before its first op comes. */
    make_spares(make, spare);
    if (spare[SMALL]) touch(spare[SMALL]);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the program's signals go to the program's threads */
    int error = pthread_create(&keeper, NULL, keep, spare[LARGE]);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    running = !error;
    if (error) errno = error;
    return error ? -1 : 0;
}

void keeper_stop(void) {
    if (!running) { keeper_forget(); return; }
    pthread_mutex_lock(&lock);
    stopping = 1;
    pthread_cond_signal(&wake);
    pthread_mutex_unlock(&lock);
    pthread_join(keeper, NULL);
    for (int i = 0; i < SPARES; i++) {
        if (!spare[i]) continue;
        munmap(spare[i]->map, spare[i]->bytes);
        if (files_ours() == 0) unlinkat(rec.folder_fd, SPARE_NAME[i], 0);
        free(spare[i]);
    }
    while (whole) { closed *next = whole->next; free(whole); whole = next; }
    keeper_forget();
}

/* In a forked child nothing of the parent's may be touched: its maps are shared, its lock may be held. */
void keeper_forget(void) {
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&wake, NULL);
    pthread_cond_init(&answered, NULL);
    running = stopping = want[SMALL] = want[LARGE] = asked = in_vain = 0;
    open_bytes = closed_bytes = fold_bytes = 0;
    spare[SMALL] = spare[LARGE] = full = NULL;
    full_end = &full;
    whole = NULL;
    whole_end = &whole;
    memset(kept, 0, sizeof kept);
}

/* A segment of spans that is ready, and its name; `later`: not the first of its thread, which is small. NULL: none is. */
segment *keeper_take_spare(int later, const char **name) {
    pthread_mutex_lock(&lock);
    int size = later && (spare[LARGE] || open_bytes + on_disk(SPARE_BYTES) <= disk_share()) ? LARGE : SMALL;
    segment *s = spare[size];
    spare[size] = NULL;
    *name = SPARE_NAME[size];
    /* The first thread finds a large one ready: a small one is made again when there is more than that thread, or it goes on. */
    want[LARGE] = running && !spare[LARGE];
    want[SMALL] = running && !spare[SMALL] && (size == LARGE || !s);
    if (want[LARGE] || want[SMALL]) pthread_cond_signal(&wake);
    pthread_mutex_unlock(&lock);
    return s;
}

/* Room on disk for a file; large: it is one that could be smaller. Where there is none the keeper is asked to fold, and waited for: it
   never needs the GIL. 1 = reserved. */
int keeper_reserve(size_t bytes, int large) {
    pthread_mutex_lock(&lock);
    int given = reserve(on_disk(bytes), large);
    while (!given && !large && running && !stopping && !in_vain) {
        asked = 1;
        pthread_cond_signal(&wake);
        pthread_cond_wait(&answered, &lock);
        given = reserve(on_disk(bytes), large);
    }
    pthread_mutex_unlock(&lock);
    return given;
}

void keeper_give_back(size_t bytes) { account(-(int64_t)on_disk(bytes), 0); }

void keeper_close(segment *s) {
    pthread_mutex_lock(&lock);
    s->next = NULL;
    *full_end = s;
    full_end = &s->next;
    in_vain = 0;
    pthread_cond_signal(&wake);
    pthread_mutex_unlock(&lock);
}
