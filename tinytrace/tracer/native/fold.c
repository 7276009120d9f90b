/* Folding closed segments into fewer records (tinytrace/tracer/records.py says into what). Nothing is kept in memory: what was
   folded before is read from its file. tinytrace/tracer/folding.py does the same. */
#define _GNU_SOURCE 1
#include "tt.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_SUMS = 1 << 16, KINDS = 10 };

typedef struct { char magic[8]; uint32_t version, last, thread, count, segments, zero; } sums_header;

/* A whole file, in memory. NULL: it is not there (errno ENOENT) or cannot be read. */
static char *read_file(const char *name, size_t *bytes) {
    int fd = files_out_of_the_way(openat(rec.folder_fd, name, O_RDONLY | O_CLOEXEC));
    struct stat about;
    if (fd < 0) return NULL;
    char *data = fstat(fd, &about) == 0 ? malloc((size_t)about.st_size + 1) : NULL;
    size_t got = 0;
    for (ssize_t n = 1; data && n > 0 && got < (size_t)about.st_size; got += (size_t)(n > 0 ? n : 0)) n = read(fd, data + got, (size_t)about.st_size - got);
    if (data && got != (size_t)about.st_size) { free(data); data = NULL; }
    close(fd);
    if (!data) errno = EIO;
    *bytes = got;
    return data;
}

/* The file is only ever the old one or the whole new one. */
static int replace_file(const char *name, const void *head, size_t head_bytes, const void *rows, size_t bytes) {
    char temporary[80];
    snprintf(temporary, sizeof temporary, "%s.new", name);
    int fd = files_out_of_the_way(openat(rec.folder_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (fd < 0) return -1;
    int done = write(fd, head, head_bytes) == (ssize_t)head_bytes;
    for (size_t at = 0; done && at < bytes;) {
        ssize_t n = write(fd, (const char *)rows + at, bytes - at);
        if (n <= 0) done = 0;
        else at += (size_t)n;
    }
    close(fd);
    done = done && renameat(rec.folder_fd, temporary, rec.folder_fd, name) == 0;
    if (!done) unlinkat(rec.folder_fd, temporary, 0);
    return done ? 0 : -1;
}

/* ---- spans ---- */

typedef struct { sum_record *records; uint32_t *slots, count, most; } sums;

static sum_record *sum_of(sums *s, uint32_t what, uint32_t site, uint32_t kind, uint32_t outer, const span_record *x) {
    uint64_t h = mix(mix(mix(mix(0, what), site), kind), outer);
    for (uint64_t i = h % (2 * MAX_SUMS);; i = (i + 1) % (2 * MAX_SUMS)) {
        sum_record *r = s->slots[i] ? &s->records[s->slots[i] - 1] : NULL;
        if (r && r->what == what && r->site == site && r->kind == kind && r->outer == outer) return r;
        if (r) continue;
        if (s->count >= s->most - KINDS && (what || site || outer)) return sum_of(s, 0, 0, kind, 0, x); /* "others" */
        r = &s->records[s->count++];
        *r = (sum_record){.what = what, .site = site, .kind = kind, .outer = outer, .min_ns = x ? x->dur_ns : 0, .start_ns = x ? x->start_ns : 0};
        s->slots[i] = s->count;
        return r;
    }
}

static int sums_read(sums *s, const char *name, uint32_t *segments, size_t *bytes) {
    s->count = 0;
    s->most = MAX_SUMS;
    s->records = malloc(MAX_SUMS * sizeof *s->records);
    s->slots = calloc(2 * MAX_SUMS, sizeof *s->slots);
    *bytes = *segments = 0;
    if (!s->records || !s->slots) return -1;
    char *data = read_file(name, bytes);
    if (!data) return errno == ENOENT ? 0 : -1;
    const sums_header *head = (const sums_header *)data;
    const sum_record *rows = (const sum_record *)(data + sizeof *head);
    int whole = *bytes >= sizeof *head && head->count <= MAX_SUMS && *bytes == sizeof *head + head->count * sizeof *rows;
    for (uint32_t i = 0; whole && i < head->count; i++) *sum_of(s, rows[i].what, rows[i].site, rows[i].kind, rows[i].outer, NULL) = rows[i];
    if (whole) *segments = head->segments;
    free(data);
    return whole ? 0 : -1;
}

typedef struct { uint64_t child_ns; int32_t up; uint32_t outer; uint8_t detached, has_op; } nested;

/* The figures of an op that did not end normally say nothing of what was done in it. */
static int has_figures(const span_record *x) {
    return x->kind == KIND_LABELLED_OP && !(x->flags & (FLAG_RAISED | FLAG_OPEN));
}

static int is_op(const span_record *x) { return x->kind == KIND_OP || x->kind == KIND_LABELLED_OP; }

/* A span that outlives its parent is detached; a detached one has no children. A parent in an earlier segment keeps its whole time. */
static void nest(const segment_header *head, const span_record *x, uint32_t n, nested *t) {
    for (uint32_t i = 0; i < n; i++) {
        int32_t above = x[i].start_ns && x[i].parent && x[i].parent <= i ? (int32_t)(i - x[i].parent) : -1;
        while (above >= 0 && t[above].detached) above = t[above].up;
        t[i] = (nested){.up = above};
        int outlives = above >= 0 && x[i].start_ns + x[i].dur_ns > x[above].start_ns + x[above].dur_ns;
        t[i].detached = outlives || (x[i].flags & FLAG_DETACHED);
        if (t[i].detached) continue;
        if (above < 0 && x[i].parent > i && head->first_number && head->first_index + i - x[i].parent >= head->folded_records) t[i].outer = head->first_number;
        if (above < 0) continue;
        t[above].child_ns += x[i].dur_ns;
        t[i].outer = has_figures(&x[above]) ? x[above].what : t[above].outer;
    }
    for (uint32_t i = n; i-- > 0;)
        if (t[i].up >= 0 && !t[i].detached && (t[i].has_op || is_op(&x[i]))) t[t[i].up].has_op = 1;
}

static uint32_t sum_up(sums *s, const span_record *spans, uint32_t n, const nested *t) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        const span_record *x = &spans[i];
        if (!x->start_ns) continue;
        sum_record *r = sum_of(s, x->kind == KIND_STEP ? 0 : x->what, x->site, x->kind, t[i].outer, x);
        int ended = !(x->flags & (FLAG_RAISED | FLAG_OPEN));
        r->count++;
        r->ended += (uint64_t)ended;
        r->leaves += ended && !t[i].has_op;
        r->total_ns += x->dur_ns;
        r->self_ns += x->dur_ns > t[i].child_ns ? x->dur_ns - t[i].child_ns : 0;
        if (x->dur_ns < r->min_ns) r->min_ns = x->dur_ns;
        if (x->dur_ns > r->max_ns) r->max_ns = x->dur_ns;
        if (x->start_ns < r->start_ns) r->start_ns = x->start_ns;
        if (x->start_ns + x->dur_ns > r->end_ns) r->end_ns = x->start_ns + x->dur_ns;
        count++;
    }
    return count;
}

/* Sums may take a share of the disk limit in all, and those of a thread what can be written beside them. */
static void limit_sums(sums *s, uint64_t before, uint64_t bytes) {
    uint64_t others = rec.sums_bytes - (before ? on_disk(before) : 0), share = disk_share();
    bytes = smaller(smaller(bytes, fold_room()), share > others ? share - others : 0);
    uint64_t rows = bytes > sizeof(sums_header) ? (bytes - sizeof(sums_header)) / sizeof *s->records : 0;
    if (rows < s->count + KINDS) rows = s->count + KINDS; /* what is in it stays; a kind of its own needs no more */
    s->most = (uint32_t)smaller(rows, MAX_SUMS);
}

/* may_grow_bytes: by how much the files may grow together. */
int64_t fold_spans(closed *c, uint64_t may_grow_bytes) {
    char name[64], sums_name[64];
    size_t bytes, before;
    uint32_t segments;
    sums s;
    segment_path(name, sizeof name, STREAM_SPANS, c->thread, c->number);
    snprintf(sums_name, sizeof sums_name, "sums-%u.tt", c->thread);
    char *data = read_file(name, &bytes);
    uint32_t n = data && bytes > SEGMENT_HEADER_BYTES ? (uint32_t)((bytes - SEGMENT_HEADER_BYTES) / RECORD_BYTES) : 0;
    nested *t = calloc(n + 1, sizeof *t);
    int done = sums_read(&s, sums_name, &segments, &before) == 0 && data && t;
    size_t after = 0;
    if (done) {
        const span_record *spans = (const span_record *)(data + SEGMENT_HEADER_BYTES);
        nest((const segment_header *)data, spans, n, t);
        limit_sums(&s, before, before + c->bytes + may_grow_bytes);
        uint32_t count = sum_up(&s, spans, n, t);
        sums_header head = {.version = FORMAT_VERSION, .last = c->number, .thread = c->thread, .count = s.count, .segments = segments + 1};
        memcpy(head.magic, "TTSUMMA1", 8);
        after = sizeof head + s.count * sizeof *s.records;
        done = replace_file(sums_name, &head, sizeof head, s.records, s.count * sizeof *s.records) == 0;
        if (done) {
            rec.folded_spans += count;
            rec.folded_segments++;
            rec.sums_bytes += on_disk(after) - (before ? on_disk(before) : 0);
            unlinkat(rec.folder_fd, name, 0);
        }
    }
    free(data);
    free(t);
    free(s.records);
    free(s.slots);
    return done ? (int64_t)on_disk(after) - (before ? (int64_t)on_disk(before) : 0) - (int64_t)on_disk(c->bytes) : FOLD_FAILED;
}

/* ---- samples, counters, flows ---- */

static uint64_t cpu_of(const sample_record *r) { return r->cpu_ns == UINT32_MAX ? 0 : r->cpu_ns | (uint64_t)r->cpu_high << 32; }
static int state_of(const sample_record *r) { return r->cpu_ns == UINT32_MAX ? 2 : 2 * cpu_of(r) >= r->weight_ns; }

static int by_stack(const void *one, const void *other) {
    const sample_record *a = one, *b = other;
    if (a->thread != b->thread) return a->thread < b->thread ? -1 : 1;
    if (a->stack != b->stack) return a->stack < b->stack ? -1 : 1;
    return state_of(a) - state_of(b);
}

/* One sample per (thread, stack, state), laid end to end up to the last of their thread. In place; returns how many. */
static uint32_t fold_samples(sample_record *r, uint32_t n) {
    uint32_t out = 0;
    qsort(r, n, sizeof *r, by_stack);
    for (uint32_t i = 0, j; i < n; i = j) {
        sample_record group = r[i];
        uint64_t cpu = 0;
        int state = state_of(&group);
        group.weight_ns = 0;
        for (j = i; j < n && r[j].thread == group.thread && r[j].stack == group.stack && state_of(&r[j]) == state; j++) {
            group.weight_ns += r[j].weight_ns;
            cpu += cpu_of(&r[j]);
            if (r[j].t_ns > group.t_ns) group.t_ns = r[j].t_ns;
        }
        if (state != 2) {
            group.cpu_ns = (uint32_t)cpu - ((uint32_t)cpu == UINT32_MAX);
            group.cpu_high = (uint32_t)(cpu >> 32);
        }
        r[out++] = group;
    }
    for (uint32_t i = 0, j; i < out; i = j) {
        uint64_t last = 0, whole = 0;
        for (j = i; j < out && r[j].thread == r[i].thread; j++) {
            whole += r[j].weight_ns;
            if (r[j].t_ns > last) last = r[j].t_ns;
        }
        uint64_t t = last - whole;
        for (uint32_t k = i; k < j; k++) {
            t += r[k].weight_ns;
            r[k].t_ns = t ? t : 1;
        }
    }
    return out;
}

static int by_time(const void *one, const void *other) {
    const counter_record *a = one, *b = other;
    if (a->series != b->series) return a->series < b->series ? -1 : 1;
    if (a->t_ns != b->t_ns) return a->t_ns < b->t_ns ? -1 : 1;
    return a->zero2 < b->zero2 ? -1 : 1; /* as they were written */
}

/* The first, least, greatest and last of each series. In place; returns how many. */
static uint32_t fold_counters(counter_record *r, uint32_t n) {
    uint32_t out = 0;
    for (uint32_t i = 0; i < n; i++) r[i].zero2 = i;
    qsort(r, n, sizeof *r, by_time);
    for (uint32_t i = 0, j; i < n; i = j) {
        uint32_t least = UINT32_MAX, greatest = UINT32_MAX;
        for (j = i; j < n && r[j].series == r[i].series; j++) {
            if (r[j].value != r[j].value) continue;
            if (least == UINT32_MAX || r[j].value < r[least].value) least = j;
            if (greatest == UINT32_MAX || r[j].value > r[greatest].value) greatest = j;
        }
        uint32_t first = i;
        for (uint32_t k = first; k < j; k++)
            if (k == first || k == least || k == greatest || k == j - 1) r[out++] = r[k];
    }
    for (uint32_t i = 0; i < out; i++) r[i].zero2 = 0;
    return out;
}

/* Append the records of a segment to `rows`; a record's first word, its time, is 0 where nothing was written. */
static int take_records(const closed *c, char **rows, uint32_t *n, segment_header *head, uint64_t *before) {
    char name[64];
    size_t bytes;
    segment_path(name, sizeof name, c->stream, 0, c->number);
    char *data = read_file(name, &bytes);
    char *more = data && bytes >= SEGMENT_HEADER_BYTES ? realloc(*rows, (size_t)*n * RECORD_BYTES + bytes) : NULL;
    if (!more) { free(data); return -1; }
    *rows = more;
    memcpy(head, data, sizeof *head);
    uint32_t start = *n;
    for (size_t at = SEGMENT_HEADER_BYTES; at + RECORD_BYTES <= bytes; at += RECORD_BYTES) {
        uint64_t t_ns;
        memcpy(&t_ns, data + at, sizeof t_ns);
        if (t_ns) memcpy(more + (size_t)(*n)++ * RECORD_BYTES, data + at, RECORD_BYTES);
    }
    *before += head->folded ? head->folded_records : *n - start;
    free(data);
    return 0;
}

int64_t fold_records(closed *first, closed *last) {
    char *rows = NULL, name[64];
    uint32_t n = 0;
    uint64_t before = 0;
    segment_header head, of_last;
    int done = take_records(first, &rows, &n, &head, &before) == 0 && (first == last || take_records(last, &rows, &n, &of_last, &before) == 0);
    int64_t grown = FOLD_FAILED;
    if (done) {
        if (first->stream == STREAM_FLOWS) n = 0; /* their spans are folded as well */
        else n = first->stream == STREAM_SAMPLES ? fold_samples((sample_record *)rows, n) : fold_counters((counter_record *)rows, n);
        head.number = last->number;
        head.first_index = 0;
        head.first_number = first->first;
        head.capacity = n;
        head.folded = 1;
        head.folded_records = before;
        segment_path(name, sizeof name, last->stream, 0, last->number);
        done = replace_file(name, &head, sizeof head, rows, (size_t)n * RECORD_BYTES) == 0;
    }
    if (done) {
        size_t bytes = SEGMENT_HEADER_BYTES + (size_t)n * RECORD_BYTES;
        grown = (int64_t)on_disk(bytes) - (int64_t)on_disk(last->bytes);
        if (first != last) {
            grown -= (int64_t)on_disk(first->bytes);
            unlinkat(rec.folder_fd, segment_path(name, sizeof name, first->stream, 0, first->number), 0);
        } else if (first->stream == STREAM_SAMPLES) {
            rec.folded_samples += before;
        } else if (first->stream == STREAM_COUNTERS) {
            rec.folded_counters += before;
        } else {
            rec.folded_flows += before;
        }
        last->bytes = bytes;
        last->level = (first->level > last->level ? first->level : last->level) + 1;
        last->first = first->first;
    }
    free(rows);
    return grown;
}
