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

/* Closed segments that are whole on disk and may be folded, in order of closing; how many span segments never are: the keeper's own. */
static closed *whole, **whole_end = &whole;
static uint32_t kept;
enum { WHOLE_SEGMENTS = 2 };

static int over(void) { return rec.closed_bytes + rec.tables_bytes > rec.disk_limit_bytes; }

/* Two folded neighbours; those that were folded least, of these the oldest. */
static int find_pair(closed **first, closed **second) {
    uint32_t least = UINT32_MAX;
    for (uint32_t stream = STREAM_SAMPLES; stream <= STREAM_COUNTERS; stream++) {
        closed *before = NULL;
        for (closed *c = whole; c; c = c->next) {
            if (c->stream != stream || !c->level) continue;
            uint32_t level = before && before->level > c->level ? before->level : c->level;
            if (before && level < least) { least = level; *first = before; *second = c; }
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

/* Fold the oldest segments until the limit holds. What fails is tried again after the next segment. */
static void bound_disk(void) {
    if (files_ours() != 0) return;
    for (closed *c = whole, *next; c && over(); c = next) {
        next = c->next;
        if (c->level) continue;
        int64_t grown = c->stream == STREAM_SPANS ? fold_spans(c) : fold_records(c, c);
        if (grown == FOLD_FAILED) return;
        rec.closed_bytes += (uint64_t)grown;
        if (c->stream == STREAM_SPANS) forget(c);
    }
    closed *first, *second;
    while (over() && find_pair(&first, &second)) {
        int64_t grown = fold_records(first, second);
        if (grown == FOLD_FAILED) return;
        rec.closed_bytes += (uint64_t)grown;
        forget(first);
    }
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
    if (s->used && s->used < s->capacity) shorten(s);
    else munmap(s->map, s->bytes);
    if (s->retired != LAST_OF_ALL) rec.closed_bytes += s->bytes;
    int whole_for_good = s->retired == LAST_OF_ALL || (s->stream == STREAM_SPANS && kept < WHOLE_SEGMENTS);
    if (s->stream == STREAM_SPANS) kept++;
    closed *c = whole_for_good ? NULL : malloc(sizeof *c);
    if (c) {
        *c = (closed){s->stream, s->thread, s->number, s->number, 0, s->bytes, NULL};
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
    kept = 0;
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
