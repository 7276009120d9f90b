/* The run folder: the log of tables, and the mmap'd segments. Nothing here needs Python, most of it needs the GIL. */
#define _GNU_SOURCE 1
#include "tt.h"
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

recording rec = {.tables_fd = -1, .folder_fd = -1};

static const char *const STREAM_NAME[] = {"", "spans", "samples", "counters", "flows"};

/* Recording ends here; the program goes on, and the reason is kept: on file, if need be in the space that was reserved for it. */
void store_fail(int error) {
    rec.active = 0;
    if (rec.error) return;
    rec.error = error ? error : EIO;
    if (rec.tables_fd < 0 || files_ours() != 0) return;
    unlinkat(rec.folder_fd, "reserve", 0);
    char text[200];
    int n = snprintf(text, sizeof text, "recording ended early: %s", strerror(rec.error));
    store_put(ENTRY_WARNING, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1, NULL, 0);
}

char *segment_path(char *buffer, size_t size, uint32_t stream, uint32_t thread, uint32_t number) {
    snprintf(buffer, size, "%s-%u-%u.seg", STREAM_NAME[stream], thread, number);
    return buffer;
}

/* Blocks are allocated before the file is mapped: a full disk is an error code here and not a SIGBUS later. */
segment *segment_make(const char *name, size_t bytes) {
    if (files_ours() != 0) return NULL;
    int fd = files_out_of_the_way(openat(rec.folder_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (fd < 0) return NULL;
    int error = posix_fallocate(fd, 0, (off_t)bytes);
    void *map = error ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (map == MAP_FAILED) {
        error = error ? error : errno;
        close(fd);
        unlinkat(rec.folder_fd, name, 0);
        errno = error;
        return NULL;
    }
    close(fd);
    segment *s = calloc(1, sizeof *s);
    if (!s) { munmap(map, bytes); errno = ENOMEM; return NULL; }
    s->map = map;
    s->bytes = bytes;
    s->capacity = (uint32_t)((bytes - SEGMENT_HEADER_BYTES) / RECORD_BYTES);
    return s;
}

void segment_release(segment *s) { keeper_close(s); }

/* The op with figures of its own that goes on: what begins in this segment may lie inside it. */
static void around(stream_writer *w, segment_header *header) {
    const thread_state *t = (const thread_state *)((const char *)w - offsetof(thread_state, spans));
    for (uint32_t i = t->depth; i-- > 0;) {
        if (t->stack[i].record->kind != KIND_LABELLED_OP) continue;
        header->first_number = t->stack[i].record->what;
        header->folded_records = t->stack[i].index;
        return;
    }
}

/* Nothing is left to fold: what finds no room is counted, and recording goes on. */
static void no_room(void) {
    static const char text[] = "the disk limit is reached and nothing is left to fold: what found no room is counted as dropped";
    if (!rec.no_room_said) store_put(ENTRY_WARNING, text, sizeof text - 1, NULL, 0);
    rec.no_room_said = 1;
}

/* The next segment for a stream, its room on disk accounted for. NULL: there is none (errno 0), or errno. */
static segment *next_segment(const stream_writer *w, const char *name) {
    const char *spare;
    segment *s = w->stream == STREAM_SPANS ? keeper_take_spare(w->number > 0, &spare) : NULL;
    if (s) {
        if (files_ours() == 0 && renameat(rec.folder_fd, spare, rec.folder_fd, name) == 0) return s;
        keeper_give_back(s->bytes);
        munmap(s->map, s->bytes);
        free(s);
    }
    size_t small = w->stream == STREAM_SPANS ? FIRST_SPANS : FIRST_OTHERS, large = w->stream == STREAM_SPANS ? LATER_SPANS : OTHER_RECORDS;
    size_t bytes = SEGMENT_HEADER_BYTES + large * RECORD_BYTES;
    if (!w->number || !keeper_reserve(bytes, 1)) {
        bytes = SEGMENT_HEADER_BYTES + small * RECORD_BYTES;
        if (!keeper_reserve(bytes, 0) && (w->stream != STREAM_SPANS || !threads_let_go() || !keeper_reserve(bytes, 0))) {
            errno = 0;
            return NULL;
        }
    }
    s = segment_make(name, bytes);
    if (!s) keeper_give_back(bytes);
    return s;
}

/* The current segment is full (or there is none yet): take the next. 0 = done, -1 = there is none, or recording has ended. */
int writer_roll(stream_writer *w) {
    if (!rec.active) return -1;
    char name[64];
    if (w->current) { /* first: it may have to be folded to make room */
        segment *last = w->current;
        w->current = NULL;
        last->retired = 1;
        if (!last->open) segment_release(last);
    }
    segment *s = next_segment(w, segment_path(name, sizeof name, w->stream, w->thread, w->number));
    if (!s) {
        if (errno) store_fail(errno);
        else no_room();
        return -1;
    }
    s->stream = w->stream;
    s->thread = w->thread;
    s->number = w->number++;
    s->first_index = w->written;
    segment_header header = {.version = FORMAT_VERSION, .stream = (uint16_t)w->stream, .record_bytes = RECORD_BYTES,
                             .capacity = s->capacity, .thread = w->thread, .number = s->number, .pid = (uint32_t)getpid(),
                             .first_index = s->first_index, .created_ns = now_ns()};
    memcpy(header.magic, "TTSEGMT1", 8);
    if (w->stream == STREAM_SPANS) around(w, &header);
    memcpy(s->map, &header, sizeof header);
    w->current = s;
    w->position = 0;
    return 0;
}

void writer_retire(stream_writer *w) {
    if (!w->current) return;
    w->current->retired = 1;
    w->current->used = w->position;
    segment_release(w->current);
    w->current = NULL;
}

static int write_all(int fd, const struct iovec *parts, int n) {
    size_t want = 0;
    for (int i = 0; i < n; i++) want += parts[i].iov_len;
    ssize_t got;
    do got = writev(fd, parts, n); while (got < 0 && errno == EINTR);
    if (got == (ssize_t)want) return 0;
    if (got >= 0) errno = ENOSPC;
    return -1;
}

/* One entry, by one write: what is interned is on file before the first record that uses it. Tried also once writing has failed:
   the reason, and how the recording went, may find room. */
void store_put(int entry, const void *head, size_t head_bytes, const void *tail, size_t tail_bytes) {
    if (rec.tables_fd < 0) return;
    struct { uint32_t bytes; uint16_t entry, zero; } prefix = {(uint32_t)(8 + head_bytes + tail_bytes), (uint16_t)entry, 0};
    struct iovec parts[3] = {{&prefix, 8}, {(void *)head, head_bytes}, {(void *)tail, tail_bytes}};
    int error = 0, left = 4; /* another thread may be closing every file just now */
    do {
        if (files_ours() == 0 && write_all(rec.tables_fd, parts, 3) == 0) {
            rec.tables_bytes += prefix.bytes;
            return;
        }
        error = errno;
    } while (error == EBADF && --left);
    if (files_ours() == 0 && ftruncate(rec.tables_fd, (off_t)rec.tables_bytes) != 0) error = errno; /* no torn entry before another one */
    store_fail(error);
}

static int keep_reserve(int folder_fd) {
    int fd = openat(folder_fd, "reserve", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int error = fd < 0 ? errno : posix_fallocate(fd, 0, RESERVE_BYTES);
    if (fd >= 0) close(fd);
    errno = error;
    return error ? -1 : 0;
}

int store_open(const char *folder, uint64_t disk_limit_bytes) {
    int folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder_fd < 0) return -1;
    int fd = openat(folder_fd, "tables.tt", O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) { int e = errno; close(folder_fd); errno = e; return -1; }
    struct { char magic[8]; uint32_t version, zero; } head = {.version = FORMAT_VERSION};
    memcpy(head.magic, "TTTABLE1", 8);
    struct iovec part = {&head, sizeof head};
    if (write_all(fd, &part, 1) != 0 || keep_reserve(folder_fd) != 0) { int e = errno; close(fd); close(folder_fd); errno = e; return -1; }
    uint32_t generation = rec.generation + 1;
    memset(&rec, 0, sizeof rec);
    rec.generation = generation;
    rec.tables_fd = fd;
    rec.folder_fd = folder_fd;
    if (files_keep(folder) != 0) { int e = errno; files_close(); errno = e; return -1; }
    rec.tables_bytes = sizeof head;
    rec.disk_limit_bytes = disk_limit_bytes;
    rec.samples.stream = STREAM_SAMPLES;
    rec.counters.stream = STREAM_COUNTERS;
    rec.flows.stream = STREAM_FLOWS;
    intern_reset();
    span_clock_start();
    rec.active = 1;
    /* Now, and not by the sampling thread: a process that was just forked may be about to close every file and to open its own. */
    if (writer_roll(&rec.samples) == 0 && writer_roll(&rec.counters) == 0 && keeper_start() == 0) return 0;
    int e = errno;
    store_close();
    errno = e;
    return -1;
}

static void close_writer(stream_writer *w) {
    if (w->current) { w->current->retired = LAST_OF_ALL; segment_release(w->current); w->current = NULL; }
}

void store_close(void) {
    if (rec.tables_fd < 0) return;
    rec.active = 0;
    for (thread_state *t = rec.threads; t; t = t->next) {
        for (uint32_t i = 0; i < t->depth; i++)
            if (t->stack[i].home->retired && t->stack[i].home != t->spans.current && --t->stack[i].home->open == 0)
                segment_release(t->stack[i].home);
        t->depth = 0;
        close_writer(&t->spans);
    }
    close_writer(&rec.samples);
    close_writer(&rec.counters);
    close_writer(&rec.flows);
    keeper_stop();
    if (files_ours() == 0) unlinkat(rec.folder_fd, "reserve", 0);
    files_close();
}
