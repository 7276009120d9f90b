/* The clock of spans. Two readings of CLOCK_MONOTONIC are half of what recording a small op costs, so where the kernel itself
   keeps that clock by the processor's time stamp counter, spans read the counter and convert it.

   Counter and clock are read together every SYNC_NS, by the sampling thread, with the GIL; so are the conversions of spans, and
   nothing can be half written. A sync moves the conversion by the some ten ns that it was off, never back over a time that was
   given out. */
#include "tt.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

span_clock_state span_clock;

#ifdef HAVE_COUNTER
#include <cpuid.h>

/* A reading is off by some 30 ns: two of them FIRST_NS apart give the rate to 3 millionths, 150 ns in SYNC_NS. */
enum { SYNC_NS = 50000000, FIRST_NS = 20000000, LOST_NS = 1000000, TRIES = 5, RECENT_NS = 1000000000 };
typedef struct { uint64_t ticks, ns; } reading;
static reading last;
static int usable;

/* The counter runs at one rate, and the kernel has found it to be the same on all processors: it keeps its own clock by it. */
static int counter_is_clock(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(0x80000007, &a, &b, &c, &d) || !(d & 1 << 8)) return 0;
    char source[16] = "";
    int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, source, sizeof source - 1);
    close(fd);
    return n > 0 && strcmp(source, "tsc\n") == 0;
}

/* Both clocks at the same moment: of a few tries the one that was interrupted least. */
static reading read_both(void) {
    reading best = {0, 0};
    uint64_t narrowest = UINT64_MAX;
    for (int i = 0; i < TRIES; i++) {
        uint64_t before = counter_ticks(), ns = now_ns(), after = counter_ticks();
        if (after - before >= narrowest) continue;
        narrowest = after - before;
        best = (reading){before + narrowest / 2, ns};
    }
    return best;
}

static uint64_t rate(reading from, reading to) { /* ns per tick, 32.32 bits; 0 = not plausible */
    if (to.ticks <= from.ticks || to.ns <= from.ns) return 0;
    unsigned __int128 r = ((unsigned __int128)(to.ns - from.ns) << 32) / (to.ticks - from.ticks);
    return r >> 36 ? 0 : (uint64_t)r; /* below 16 ns per tick: above 62.5 MHz */
}

/* Called when the core is loaded (`is_clock` is found out then) and again when a recording begins: the sooner the first reading, the sooner the second one can give
   the rate. Not from one older than RECENT_NS, since the machine may have slept in between. */
void span_clock_start(void) {
    static int is_clock = -1;
    if (is_clock < 0) is_clock = counter_is_clock();
    span_clock.on = 0;
    usable = is_clock; /* a clock that the kernel has given up since is noticed by LOST_NS */
    if (usable && now_ns() - last.ns > RECENT_NS) last = read_both();
}

void span_clock_sync(void) {
    if (!usable) return;
    uint64_t start = counter_ticks(), waited = now_ns() - last.ns;
    if (waited < (span_clock.on ? SYNC_NS : FIRST_NS)) return;
    reading now = read_both();
    uint64_t per_tick = rate(last, now), ns = now.ns;
    if (span_clock.on) {
        int64_t behind = (int64_t)(now.ns - span_clock_at(now.ticks));
        if (behind > LOST_NS || behind < -LOST_NS) per_tick = 0;
        /* Whoever read it last did so before `start`: it may go back that far and no further. */
        uint64_t latest = span_clock_at(start);
        if (ns < latest) ns = latest;
    }
    usable = span_clock.on = per_tick != 0; /* the machine slept, or was moved: never again */
    span_clock.base_ticks = now.ticks;
    span_clock.base_ns = ns;
    span_clock.per_tick = per_tick;
    last = now;
}
#else
void span_clock_start(void) {}
void span_clock_sync(void) {}
#endif
