/* Ids for call sites, signatures and stacks: open-addressed tables, written to the store on first sight. Guarded by the GIL. */
#include "frames.h"
#include "tt.h"
#include <string.h>

/* One table for all three: slots hold the hash and the entry's id; 0 = free. */
typedef struct { uint64_t hash; uint32_t id; } slot;
typedef struct { slot *slots; uint32_t mask, count; } table;

static int table_grow(table *t) {
    uint32_t size = t->slots ? (t->mask + 1) * 2 : 1024;
    slot *slots = calloc(size, sizeof *slots);
    if (!slots) return -1;
    for (uint32_t i = 0; t->slots && i <= t->mask; i++) {
        if (!t->slots[i].id) continue;
        uint32_t at = (uint32_t)t->slots[i].hash & (size - 1);
        while (slots[at].id) at = (at + 1) & (size - 1);
        slots[at] = t->slots[i];
    }
    free(t->slots);
    t->slots = slots;
    t->mask = size - 1;
    return 0;
}
/* Room for one more at no more than half full; then the free slot where `hash` belongs. */
static slot *table_add(table *t, uint64_t hash, uint32_t id) {
    if ((!t->slots || t->count * 2 > t->mask) && table_grow(t) != 0) return NULL;
    uint32_t at = (uint32_t)hash & t->mask;
    while (t->slots[at].id) at = (at + 1) & t->mask;
    t->slots[at] = (slot){hash, id};
    t->count++;
    return &t->slots[at];
}
#define TABLE_FIND(t, hash_, id_, same) \
    for (uint32_t at = (uint32_t)(hash_) & (t).mask; (t).slots && (t).slots[at].id; at = (at + 1) & (t).mask) { \
        uint32_t id_ = (t).slots[at].id; \
        if ((t).slots[at].hash == (hash_) && (same)) return RESULT(id_); \
    }

/* ---- sites: (code, instruction) ---- */
cap_numbers caps;
typedef struct { PyCodeObject *code; int lasti; uint32_t flags; } site_entry; /* a strong reference keeps the address meaningful */
static site_entry *sites;
static uint32_t n_sites, sites_room;
static table site_table;
static PyObject *internal_prefixes, *our_prefixes; /* tuples of str */

static int starts_with_any(PyObject *text, PyObject *prefixes) {
    for (Py_ssize_t i = 0; prefixes && i < PyTuple_GET_SIZE(prefixes); i++)
        if (PyUnicode_Tailmatch(text, PyTuple_GET_ITEM(prefixes, i), 0, PY_SSIZE_T_MAX, -1) == 1) return 1;
    return 0;
}

static uint32_t flags_of(PyCodeObject *code) {
    if (starts_with_any(code->co_filename, our_prefixes)) return SITE_INTERNAL | SITE_OURS;
    return starts_with_any(code->co_filename, internal_prefixes) ? SITE_INTERNAL : 0;
}
int intern_internal_prefixes(PyObject *prefixes, PyObject *ours) {
    if (!PyTuple_Check(prefixes) || !PyTuple_Check(ours)) { PyErr_SetString(PyExc_TypeError, "two tuples of str"); return -1; }
    Py_XSETREF(internal_prefixes, Py_NewRef(prefixes));
    Py_XSETREF(our_prefixes, Py_NewRef(ours));
    for (uint32_t i = 0; i < n_sites; i++) sites[i].flags = flags_of(sites[i].code); /* met while the library was imported */
    return 0;
}

static site site_new(PyCodeObject *code, int lasti, uint64_t hash) {
#if PY_VERSION_HEX >= 0x030B0000
    PyObject *name = code->co_qualname;
#else
    PyObject *name = code->co_name;
#endif
    uint64_t most_bytes = 24 + 4 * (uint64_t)(PyUnicode_GET_LENGTH(code->co_filename) + PyUnicode_GET_LENGTH(name));
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    uint32_t flags = flags_of(code);
    int full = n_sites >= caps.sites || tables_full(most_bytes);
    if (!full && n_sites == sites_room) {
        site_entry *more = realloc(sites, (sites_room ? sites_room * 2 : 1024) * sizeof *sites);
        if (more) {
            sites = more;
            sites_room = sites_room ? sites_room * 2 : 1024;
        }
        full = !more;
    }
    if (full) {
        rec.sites_left_out++;
        PyErr_Restore(type, value, traceback);
        return (site){0, flags};
    }
    uint32_t id = ++n_sites;
    new_place |= !flags;
    sites[id - 1] = (site_entry){(PyCodeObject *)Py_NewRef(code), lasti, flags};
    table_add(&site_table, hash, id);
    PyObject *file_bytes = PyUnicode_AsEncodedString(code->co_filename, "utf-8", "surrogatepass");
    PyObject *name_bytes = PyUnicode_AsEncodedString(name, "utf-8", "surrogatepass");
    int line = PyCode_Addr2Line(code, lasti);
    if (file_bytes && name_bytes) {
        uint32_t file_size = (uint32_t)PyBytes_GET_SIZE(file_bytes);
        size_t size = 16 + file_size;
        char *head = malloc(size);
        if (head) {
            uint32_t numbers[4] = {id, line > 0 ? (uint32_t)line : 0, flags, file_size};
            memcpy(head, numbers, 16);
            memcpy(head + 16, PyBytes_AS_STRING(file_bytes), file_size);
            store_put(ENTRY_SITE, head, size, PyBytes_AS_STRING(name_bytes), (size_t)PyBytes_GET_SIZE(name_bytes));
            free(head);
        }
    }
    Py_XDECREF(file_bytes);
    Py_XDECREF(name_bytes);
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    return (site){id, flags};
}

site site_intern(PyCodeObject *code, int lasti) {
    uint64_t hash = mix((uint64_t)(uintptr_t)code, (uint64_t)lasti + 1);
#define RESULT(id) ((site){id, sites[id - 1].flags})
    TABLE_FIND(site_table, hash, id, sites[id - 1].code == code && sites[id - 1].lasti == lasti)
#undef RESULT
    return site_new(code, lasti, hash);
}

/* The innermost frame that is neither ours nor the library's own; the innermost of all where there is none such. */
uint32_t site_of_caller(site_hint *hint) {
    uint32_t innermost = 0;
    int lasti = 0;
    for (void *f = frame_top(PyThreadState_Get()); f; f = frame_next(f)) {
        PyCodeObject *code = frame_code(f, &lasti);
        if (!code) continue;
        if (hint->code == code && hint->lasti == lasti && !(sites[hint->id - 1].flags & SITE_INTERNAL)) return hint->id;
        site s = site_intern(code, lasti);
        if (!(s.flags & SITE_INTERNAL)) { /* 0: beyond the cap, and no other frame is the call site */
            if (s.id) *hint = (site_hint){code, lasti, s.id};
            return s.id;
        }
        if (!innermost) innermost = s.id;
    }
    return innermost;
}

/* ---- stacks: (parent, site) ---- */
typedef struct { uint32_t parent, site; } stack_entry;
static stack_entry *stacks;
static uint32_t n_stacks, stacks_room;
static table stack_table;
enum { MAX_FRAMES = 512 };
static int cut_said;

static uint32_t stack_intern(uint32_t parent, uint32_t site_id) {
    uint64_t hash = mix(mix(1, parent), site_id);
#define RESULT(id) id
    TABLE_FIND(stack_table, hash, id, stacks[id - 1].parent == parent && stacks[id - 1].site == site_id)
#undef RESULT
    if (n_stacks >= caps.stacks || tables_full(20)) { rec.stacks_left_out++; return parent; }
    if (n_stacks == stacks_room) {
        stack_entry *more = realloc(stacks, (stacks_room ? stacks_room * 2 : 1024) * sizeof *stacks);
        if (!more) return parent;
        stacks = more;
        stacks_room = stacks_room ? stacks_room * 2 : 1024;
    }
    uint32_t id = ++n_stacks;
    stacks[id - 1] = (stack_entry){parent, site_id};
    table_add(&stack_table, hash, id);
    uint32_t numbers[3] = {id, parent, site_id};
    store_put(ENTRY_STACK, numbers, sizeof numbers, NULL, 0);
    return id;
}

/* The stack of a thread, outermost frames of ours left out. Beyond MAX_FRAMES the outer part is cut off, which is said. */
uint32_t stack_of(PyThreadState *tstate) {
    site path[MAX_FRAMES];
    int n = 0, lasti = 0;
    for (void *f = frame_top(tstate); f; f = frame_next(f)) {
        PyCodeObject *code = frame_code(f, &lasti);
        if (!code) continue;
        if (n == MAX_FRAMES) {
            static const char text[] = "stacks of more than 512 frames: the outer ones are left out";
            if (!cut_said) store_put(ENTRY_WARNING, text, sizeof text - 1, NULL, 0);
            cut_said = 1;
            break;
        }
        if ((path[n] = site_intern(code, lasti)).id) n++;
    }
    while (n && path[n - 1].flags & SITE_OURS) n--;
    uint32_t id = 0;
    while (n) {
        uint32_t inner = stack_intern(id, path[--n].id);
        if (inner == id) break; /* beyond the cap: what is further in would look like a call from here */
        id = inner;
    }
    return id;
}

/* ---- signatures: keys of 64-bit words ---- */
typedef struct { uint64_t *key; uint32_t words; } signature_entry;
static signature_entry *signatures;
static uint32_t n_signatures, n_bare, signatures_room;
static table signature_table;

static uint32_t signature_find(const uint64_t *key, uint32_t words);

/* Independent products, so that they overlap; equality is decided by comparing the keys. */
static inline uint64_t key_hash(const uint64_t *key, uint32_t words) {
    uint64_t sum = words, odd = 0x9E3779B97F4A7C15ull;
    for (uint32_t i = 0; i < words; i++) {
        sum += (key[i] ^ (key[i] >> 32)) * odd;
        odd += 0xD1B54A32D192ED02ull; /* even: the factors stay odd */
    }
    return sum ^ (sum >> 29);
}

static inline int same_key(const signature_entry *s, const uint64_t *key, uint32_t words) {
    if (s->words != words) return 0;
    uint64_t differ = 0;
    for (uint32_t i = 0; i < words; i++) differ |= s->key[i] ^ key[i];
    return !differ;
}

uint32_t signature_id(const uint64_t *key, uint32_t words, signature_hint *hint) {
    if (hint && hint->id && same_key(&signatures[hint->id - 1], key, words)) return hint->id;
    uint32_t id = signature_find(key, words);
    if (hint) *hint = (signature_hint){id ? signatures[id - 1].key : NULL, id};
    return id;
}

static uint32_t signature_find(const uint64_t *key, uint32_t words) {
    uint64_t hash = key_hash(key, words);
    size_t bytes = words * sizeof *key;
#define RESULT(id) id
    TABLE_FIND(signature_table, hash, id, same_key(&signatures[id - 1], key, words))
#undef RESULT
    uint64_t bare = key[0] & 0xFFFFFFFFull; /* the op alone, operands not known */
    int is_bare = words == 1 && key[0] == bare;
    if (is_bare && n_bare >= caps.bare_signatures) return 0;
    if (!is_bare && (n_signatures - n_bare >= caps.signatures || tables_full(12 + bytes))) {
        rec.signatures_left_out++;
        return signature_find(&bare, 1);
    }
    if (n_signatures == signatures_room) {
        signature_entry *more = realloc(signatures, (signatures_room ? signatures_room * 2 : 1024) * sizeof *signatures);
        if (!more) return 0;
        signatures = more;
        signatures_room = signatures_room ? signatures_room * 2 : 1024;
    }
    uint64_t *copy = malloc(bytes);
    if (!copy) return 0;
    memcpy(copy, key, bytes);
    uint32_t id = ++n_signatures;
    n_bare += (uint32_t)is_bare;
    signatures[id - 1] = (signature_entry){copy, words};
    table_add(&signature_table, hash, id);
    store_put(ENTRY_SIGNATURE, &id, sizeof id, key, bytes);
    return id;
}

void intern_reset(void) {
    for (uint32_t i = 0; i < n_sites; i++) Py_DECREF(sites[i].code);
    for (uint32_t i = 0; i < n_signatures; i++) free(signatures[i].key);
    n_sites = n_signatures = n_bare = n_stacks = 0;
    cut_said = 0;
    table *tables[] = {&site_table, &signature_table, &stack_table};
    for (int i = 0; i < 3; i++) {
        free(tables[i]->slots);
        *tables[i] = (table){0};
    }
}
