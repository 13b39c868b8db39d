#include "bench/peaks.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/pool.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

enum { MAX_WORKERS = 1024 };
static const double seconds_each = 0.2;

struct burn {
    double rates[MAX_WORKERS]; /* of each worker, per second */
    const unsigned char *memory;
    size_t bytes;
};

static double total(const struct burn *burn, int workers) {
    double sum = 0;
    for (int i = 0; i < workers; i++)
        sum += burn->rates[i];
    return sum;
}

/* ---- arithmetic: 16 independent sums hide the latency ------------------------------- */

#if defined(__x86_64__) || defined(__i386__)
enum { ROUNDS = 20000, SUMS = 16 };

__attribute__((target("avx512f,avx512vnni"))) static double burn_vnni(void) {
    __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(1);
    __m512i s0 = a, s1 = a, s2 = a, s3 = a, s4 = a, s5 = a, s6 = a, s7 = a;
    __m512i s8 = a, s9 = a, s10 = a, s11 = a, s12 = a, s13 = a, s14 = a, s15 = a;
    for (int i = 0; i < ROUNDS; i++) {
#define DOT(s) __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(s) : "v"(a), "v"(b));
        DOT(s0) DOT(s1) DOT(s2) DOT(s3) DOT(s4) DOT(s5) DOT(s6) DOT(s7)
        DOT(s8) DOT(s9) DOT(s10) DOT(s11) DOT(s12) DOT(s13) DOT(s14) DOT(s15)
#undef DOT
    }
    return 2.0 * 64 * SUMS * ROUNDS;
}

__attribute__((target("avx2"))) static double burn_avx2(void) {
    __m256i a = _mm256_set1_epi16(3), b = _mm256_set1_epi16(1), zero = _mm256_setzero_si256();
    __m256i s[8] = {zero, zero, zero, zero, zero, zero, zero, zero};
    for (int i = 0; i < ROUNDS; i++)
        for (int j = 0; j < 8; j++) {
            __m256i products = _mm256_madd_epi16(a, b);
            __asm__ volatile("" : "+x"(products));
            s[j] = _mm256_add_epi32(s[j], products);
        }
    for (int j = 0; j < 8; j++)
        __asm__ volatile("" : : "x"(s[j]));
    return 2.0 * 16 * 8 * ROUNDS;
}
#endif

static double burn_int8(void) {
#if defined(__x86_64__) || defined(__i386__)
    if (cpu_has_avx512_vnni())
        return burn_vnni();
    if (cpu_has_avx2())
        return burn_avx2();
#endif
    return 0;
}

static void int8_worker(void *context, int worker, int workers) {
    struct burn *burn = context;
    (void)workers;
    double start = clock_seconds(), now = start;
    burn->rates[worker] = 0;
    while (now < start + seconds_each) { /* the best short round: others only make it slower */
        double done = burn_int8(), since = now;
        now = clock_seconds();
        if (done / (now - since) > burn->rates[worker])
            burn->rates[worker] = done / (now - since);
    }
}

double peak_int8_gops(struct pool *pool) {
    static struct burn burn;
    if (burn_int8() <= 0)
        return 0;
    pool_run(pool, int8_worker, &burn);
    return total(&burn, pool_workers(pool)) * 1e-9;
}

/* ---- memory --------------------------------------------------------------------------- */

typedef uint64_t chunk __attribute__((vector_size(32)));

#if defined(__x86_64__) && defined(__linux__)
__attribute__((target_clones("avx2", "default")))
#endif
static void
read_worker(void *context, int worker, int workers) {
    struct burn *burn = context;
    size_t begin, end;
    pool_slice(burn->bytes, 4096, worker, workers, &begin, &end);
    double start = clock_seconds(), now = start;
    burn->rates[worker] = 0;
    while (now < start + seconds_each) {
        double since = now;
        chunk sums[8] = {{0}};
        for (size_t i = begin; i + sizeof sums <= end; i += sizeof sums)
            for (size_t j = 0; j < 8; j++) {
                chunk next;
                memcpy(&next, burn->memory + i + j * sizeof next, sizeof next);
                sums[j] |= next;
            }
        __asm__ volatile("" : : "m"(sums)); /* or nothing would be read */
        now = clock_seconds();
        if ((double)(end - begin) / (now - since) > burn->rates[worker])
            burn->rates[worker] = (double)(end - begin) / (now - since);
    }
}

double peak_read_gbps(struct pool *pool, size_t bytes) {
    static struct burn burn;
    struct arena arena;
    if (arena_create(&arena, bytes, NULL) != STATUS_OK)
        return 0;
    memset(arena.memory, 1, bytes);
    burn.memory = arena.memory;
    burn.bytes = bytes;
    pool_run(pool, read_worker, &burn); /* warms the caches */
    pool_run(pool, read_worker, &burn);
    arena_destroy(&arena);
    return total(&burn, pool_workers(pool)) * 1e-9;
}
