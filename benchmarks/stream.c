/* The kernels of STREAM (McCalpin, 1995), and one in place, at a footprint: bandwidth by a program without Python.
 *
 *     stream <footprint in bytes> <rounds>
 *
 * prints for each kernel its name and the best and the least of the rounds in GB/s. Bytes are those that the kernel
 * names, as STREAM counts them: no line that is fetched before it is written. */
#define _POSIX_C_SOURCE 200112L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BLOCK_S 0.002

static double *a, *b, *c;
static volatile double sink;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void copy(size_t n) { memcpy(b, a, n * sizeof *a); }

static void add(size_t n)
{
    for (size_t i = 0; i < n; i++)
        c[i] = a[i] + b[i];
}

static void sum(size_t n)
{
    double s[32] = {0};
    for (size_t i = 0; i + 32 <= n; i += 32)
        for (int j = 0; j < 32; j++)
            s[j] += a[i + j];
    for (int j = 1; j < 32; j++)
        s[0] += s[j];
    sink = s[0];
}

static void scale(size_t n)
{
    double factor = sink == 7.0 ? 2.0 : 1.0; /* not known to the compiler */
    for (size_t i = 0; i < n; i++)
        a[i] *= factor;
}

static const struct {
    const char *name;
    void (*run)(size_t);
    int arrays, moved; /* how many arrays there are, how many are moved */
} kernels[] = {{"copy", copy, 2, 2}, {"add", add, 3, 3}, {"max", sum, 1, 1}, {"scale in place", scale, 1, 2}};

int main(int argc, char **argv)
{
    size_t bytes = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    int rounds = argc > 2 ? atoi(argv[2]) : 0;
    double *memory;
    if (bytes < 4096 || rounds < 1 || posix_memalign((void **)&memory, 4096, bytes + 4096))
        return 1;
    for (size_t i = 0; i < bytes / sizeof *memory; i++)
        memory[i] = 1.0;
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
        size_t n = bytes / sizeof *memory / kernels[k].arrays / 8 * 8;
        double best = 0, least = 1e300, moved = (double)n * sizeof *memory * kernels[k].moved;
        a = memory, b = a + n, c = b + n;
        for (int round = 0; round < rounds; round++) {
            int calls = 0;
            kernels[k].run(n);
            double begin = now(), took;
            do {
                kernels[k].run(n);
                __asm__ volatile("" ::: "memory"); /* done again, not once for all */
                calls++;
            } while ((took = now() - begin) < BLOCK_S);
            double gbps = 1e-9 * moved * calls / took;
            best = gbps > best ? gbps : best;
            least = gbps < least ? gbps : least;
        }
        printf("%s\t%.6g\t%.6g\n", kernels[k].name, best, least);
    }
    return 0;
}
