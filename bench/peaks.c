#include "bench/peaks.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/pool.h"
#include "model/kernels/int8.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

enum { MAX_WORKERS = 1024 };
static const double seconds_each = 0.2;

struct burn {
    double (*round)(void); /* runs for some microseconds, returns the operations done */
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

/* SUMS registers, each added to ROUNDS times by `instruction`; both operands are `start`. */
#define BURN(name, isa, type, start, instruction, operations)                                   \
    __attribute__((target(isa))) static double name(void) {                                     \
        type a = start, b = start;                                                              \
        type s0 = a, s1 = a, s2 = a, s3 = a, s4 = a, s5 = a, s6 = a, s7 = a;                    \
        type s8 = a, s9 = a, s10 = a, s11 = a, s12 = a, s13 = a, s14 = a, s15 = a;              \
        for (int i = 0; i < ROUNDS; i++) {                                                      \
            DOT(instruction, s0) DOT(instruction, s1) DOT(instruction, s2)                      \
            DOT(instruction, s3) DOT(instruction, s4) DOT(instruction, s5)                      \
            DOT(instruction, s6) DOT(instruction, s7) DOT(instruction, s8)                      \
            DOT(instruction, s9) DOT(instruction, s10) DOT(instruction, s11)                    \
            DOT(instruction, s12) DOT(instruction, s13) DOT(instruction, s14)                   \
            DOT(instruction, s15)                                                               \
        }                                                                                       \
        return (double)(operations) * SUMS * ROUNDS;                                            \
    }
#define DOT(instruction, s) __asm__ volatile(instruction " %2, %1, %0" : "+v"(s) : "v"(a), "v"(b));
BURN(burn_vnni, "avx512f,avx512vnni", __m512i, _mm512_set1_epi8(1), "vpdpbusd", 2 * 64)
BURN(burn_bf16, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(), "vdpbf16ps", 2 * 32)
BURN(burn_f32_avx512, "avx512f", __m512, _mm512_setzero_ps(), "vfmadd231ps", 2 * 16)
BURN(burn_f32_avx2, "avx2,fma", __m256, _mm256_setzero_ps(), "vfmadd231ps", 2 * 8)
#undef DOT
#undef BURN

#if defined(__x86_64__)
/* Four tiles of sums take turns, so that none waits for itself. */
__attribute__((target("amx-tile,amx-int8"))) static double burn_amx(void) {
    static const struct {
        uint8_t palette, reserved[15];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shapes = {1, {0}, {64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16}};
    __asm__ volatile("ldtilecfg %0" : : "m"(shapes));
    for (int i = 0; i < ROUNDS; i++)
        __asm__ volatile("tdpbusd %tmm5, %tmm4, %tmm0\n\ttdpbusd %tmm5, %tmm4, %tmm1\n\t"
                         "tdpbusd %tmm5, %tmm4, %tmm2\n\ttdpbusd %tmm5, %tmm4, %tmm3");
    __asm__ volatile("tilerelease");
    return 2.0 * 16 * 16 * 64 * 4 * ROUNDS;
}
#endif

/* A product of bytes takes four instructions, as in model/kernels/int8_avx2.c. */
__attribute__((target("avx2"))) static double burn_avx2(void) {
    __m256i a = _mm256_set1_epi8(1), ones = _mm256_set1_epi16(1), t;
    __m256i s0 = a, s1 = a, s2 = a, s3 = a, s4 = a, s5 = a, s6 = a, s7 = a;
#define DOT(s)                                                                                  \
    __asm__ volatile("vpxor %2, %2, %1\n\tvpmaddubsw %1, %2, %1\n\t"                            \
                     "vpmaddwd %3, %1, %1\n\tvpaddd %1, %0, %0"                                 \
                     : "+x"(s), "=&x"(t) : "x"(a), "x"(ones));
    for (int i = 0; i < ROUNDS; i++) {
        DOT(s0) DOT(s1) DOT(s2) DOT(s3) DOT(s4) DOT(s5) DOT(s6) DOT(s7)
    }
#undef DOT
    return 2.0 * 32 * 8 * ROUNDS;
}
#endif

static void arithmetic_worker(void *context, int worker, int workers) {
    struct burn *burn = context;
    (void)workers;
    double start = clock_seconds(), now = start;
    burn->rates[worker] = 0;
    while (now < start + seconds_each) { /* the best short round: others only make it slower */
        double done = burn->round(), since = now;
        now = clock_seconds();
        if (done / (now - since) > burn->rates[worker])
            burn->rates[worker] = done / (now - since);
    }
}

static double peak(struct pool *pool, double (*round)(void)) {
    static struct burn burn;
    if (!round)
        return 0;
    burn.round = round;
    pool_run(pool, arithmetic_worker, &burn);
    return total(&burn, pool_workers(pool)) * 1e-9;
}

#if defined(__x86_64__) || defined(__i386__)
double peak_int8_gops(struct pool *pool) {
    const struct int8_kernels *kernels = int8_kernels_get();
#if defined(__x86_64__)
    if (kernels == &int8_amx)
        return peak(pool, burn_amx);
#endif
    return peak(pool, kernels == &int8_vnni   ? burn_vnni
                      : kernels == &int8_avx2 ? burn_avx2
                                              : NULL);
}
double peak_f32_gflops(struct pool *pool) {
    return peak(pool, cpu_has_avx512() ? burn_f32_avx512 : cpu_has_avx2() ? burn_f32_avx2 : NULL);
}
double peak_bf16_gflops(struct pool *pool) {
    return peak(pool, cpu_has_avx512_bf16() ? burn_bf16 : NULL);
}
#else
double peak_int8_gops(struct pool *pool) {
    return peak(pool, NULL);
}
double peak_f32_gflops(struct pool *pool) {
    return peak(pool, NULL);
}
double peak_bf16_gflops(struct pool *pool) {
    return peak(pool, NULL);
}
#endif

/* ---- memory --------------------------------------------------------------------------- */

typedef uint64_t chunk __attribute__((vector_size(32)));

/* The choice among clones runs before ThreadSanitizer can count what it does. */
#if defined(__x86_64__) && defined(__linux__) && !defined(__SANITIZE_THREAD__)
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
