/* AVX-512 VNNI: vpdpbusd adds four products of unsigned and signed bytes to each of 16 sums,
 * without saturating. Compiled with its own flags (see the Makefile); called only after
 * dispatch.c asked the CPU. */
#if defined(__x86_64__) || defined(__i386__)
#include "model/kernels/int8_vnni.h"

#include <string.h>

/* The loops over a tile's registers must disappear, or the sums would live in memory. */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { MAX_ROWS = 12, MAX_PANELS = 4 };

/* What a tile works on; see int8_kernels.linear. */
struct job {
    const struct int8_matrix *matrix;
    size_t x_stride;
    float *y;
    size_t y_stride;
    bool relu;
    /* Weights to fetch into L2 while a tile is computed, a line per panel and step, as the
     * next tile would have to wait for them: panel p's are at ahead + p * ahead_stride. */
    uintptr_t ahead; /* may lie beyond the matrix: a fetch of unmapped memory does nothing */
    size_t ahead_stride;
    struct fetching fetching;
};

/* Four activations of a row, in all 16 places. */
static inline __m512i four(const uint8_t *x) {
    int32_t bytes;
    memcpy(&bytes, x, sizeof bytes);
    return _mm512_set1_epi32(bytes);
}

/* Brings a line into L2 that is wanted soon. */
static inline void fetch(uintptr_t line) {
    _mm_prefetch((const char *)line, _MM_HINT_T1);
}

/* sum + the products of unsigned x and signed w, four and four. In assembly, because GCC 12
 * copies the sums of the intrinsic twice around every instruction. */
static inline __m512i dot4(__m512i sum, __m512i x, __m512i w) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
    return sum;
}

static inline void finish(const struct job *job, const struct quantization *quantization,
                          size_t row, size_t panel, __m512i sum) {
    int8_finish(job->matrix, panel, sum, quantization,
                job->y + row * job->y_stride + panel * INT8_PANEL, job->relu);
}

typedef void tile_function(struct job *job, const uint8_t *x,
                           const struct quantization *quantizations, size_t row, size_t panel);

/* ROWS rows times PANELS panels, their sums in named variables: compilers disagree on when an
 * array of sums may stay out of memory. Row r's sums are s<r>a for the first panel, s<r>b ... */
#define EACH_1(DO) DO(0)
#define EACH_2(DO) EACH_1(DO) DO(1)
#define EACH_3(DO) EACH_2(DO) DO(2)
#define EACH_4(DO) EACH_3(DO) DO(3)
#define EACH_5(DO) EACH_4(DO) DO(4)
#define EACH_6(DO) EACH_5(DO) DO(5)
#define EACH_7(DO) EACH_6(DO) DO(6)
#define EACH_8(DO) EACH_7(DO) DO(7)
#define EACH_9(DO) EACH_8(DO) DO(8)
#define EACH_10(DO) EACH_9(DO) DO(9)
#define EACH_11(DO) EACH_10(DO) DO(10)
#define EACH_12(DO) EACH_11(DO) DO(11)

#define ZERO_1(r) __m512i s##r##a = _mm512_setzero_si512();
#define ZERO_2(r) ZERO_1(r) __m512i s##r##b = _mm512_setzero_si512();
#define ZERO_4(r)                                                                               \
    ZERO_2(r) __m512i s##r##c = _mm512_setzero_si512(), s##r##d = _mm512_setzero_si512();

#define LOAD_1 __m512i wa = _mm512_loadu_si512(w);
#define LOAD_2 LOAD_1 __m512i wb = _mm512_loadu_si512(w + panel_bytes);
#define LOAD_4                                                                                  \
    LOAD_2 __m512i wc = _mm512_loadu_si512(w + 2 * panel_bytes);                                \
    __m512i wd = _mm512_loadu_si512(w + 3 * panel_bytes);

#define FETCH(p) fetch(ahead + (p) * ahead_stride);
#define FETCH_1 FETCH(0)
#define FETCH_2 FETCH_1 FETCH(1)
#define FETCH_4 FETCH_2 FETCH(2) FETCH(3)

#define ADD_1(r)                                                                                \
    __m512i x##r = four(x + r * stride);                                                        \
    s##r##a = dot4(s##r##a, x##r, wa);
#define ADD_2(r) ADD_1(r) s##r##b = dot4(s##r##b, x##r, wb);
#define ADD_4(r)                                                                                \
    ADD_2(r) s##r##c = dot4(s##r##c, x##r, wc);                                  \
    s##r##d = dot4(s##r##d, x##r, wd);

#define FINISH_1(r) finish(job, &quantizations[r], row + r, panel, s##r##a);
#define FINISH_2(r) FINISH_1(r) finish(job, &quantizations[r], row + r, panel + 1, s##r##b);
#define FINISH_4(r)                                                                                \
    FINISH_2(r) finish(job, &quantizations[r], row + r, panel + 2, s##r##c);                       \
    finish(job, &quantizations[r], row + r, panel + 3, s##r##d);

/* Few rows wait for their own weights, and go without the list. */
#define FETCH_NOTHING
#define FETCH_WANTED                                                                               \
    fetch(line);                                                                                   \
    line += line_step;

#define TILE(ROWS, PANELS, FETCHING)                                                               \
    static void tile_##ROWS##x##PANELS(struct job *job, const uint8_t *x,                          \
                                       const struct quantization *quantizations, size_t row,       \
                                       size_t panel) {                                             \
        const struct int8_matrix *m = job->matrix;                                                 \
        const size_t panel_bytes = m->groups * INT8_GROUP_BYTES, stride = job->x_stride;           \
        const int8_t *w = m->bytes + panel * panel_bytes;                                          \
        uintptr_t ahead = job->ahead;                                                              \
        const size_t ahead_stride = job->ahead_stride;                                             \
        struct fetching *f = &job->fetching;                                                       \
        uintptr_t line = f->line;                                                                  \
        size_t lines = f->lines, line_step = f->step;                                              \
        (void)line_step;                                                                           \
        EACH_##ROWS(ZERO_##PANELS) for (size_t left = m->groups; left > 0;) {                      \
            size_t steps = left < lines ? left : lines;                                            \
            left -= steps;                                                                         \
            lines -= steps;                                                                        \
            for (; steps > 0; steps--, w += INT8_GROUP_BYTES, x += INT8_GROUP) {                   \
                FETCH_##PANELS ahead += INT8_GROUP_BYTES;                                          \
                FETCHING LOAD_##PANELS EACH_##ROWS(ADD_##PANELS)                                   \
            }                                                                                      \
            if (lines == 0) {                                                                      \
                fetching_next(f);                                                                  \
                line = f->line;                                                                    \
                lines = f->lines;                                                                  \
                line_step = f->step;                                                               \
            }                                                                                      \
        }                                                                                          \
        f->line = line;                                                                            \
        f->lines = lines;                                                                          \
        EACH_##ROWS(FINISH_##PANELS)                                                               \
    }
#define TILES(rows, fetching) TILE(rows, 1, fetching) TILE(rows, 2, fetching)
TILES(1, FETCH_NOTHING) TILES(2, FETCH_NOTHING) TILES(3, FETCH_NOTHING)
TILES(4, FETCH_NOTHING) TILES(5, FETCH_NOTHING) TILES(6, FETCH_WANTED)
TILES(7, FETCH_WANTED) TILES(8, FETCH_WANTED) TILES(9, FETCH_WANTED)
TILES(10, FETCH_WANTED) TILES(11, FETCH_WANTED) TILES(12, FETCH_WANTED)
TILE(1, 4, FETCH_NOTHING) TILE(2, 4, FETCH_NOTHING) TILE(3, 4, FETCH_NOTHING)
TILE(4, 4, FETCH_NOTHING) TILE(5, 4, FETCH_NOTHING) TILE(6, 4, FETCH_WANTED)

/* Registers: rows * panels sums, the panels' weights and one row's activations, at most 32. */
static const struct {
    tile_function *by[MAX_PANELS + 1]; /* NULL where there is none */
} tiles[MAX_ROWS + 1] = {
    [1] = {{NULL, tile_1x1, tile_1x2, NULL, tile_1x4}},
    [2] = {{NULL, tile_2x1, tile_2x2, NULL, tile_2x4}},
    [3] = {{NULL, tile_3x1, tile_3x2, NULL, tile_3x4}},
    [4] = {{NULL, tile_4x1, tile_4x2, NULL, tile_4x4}},
    [5] = {{NULL, tile_5x1, tile_5x2, NULL, tile_5x4}},
    [6] = {{NULL, tile_6x1, tile_6x2, NULL, tile_6x4}},
    [7] = {{NULL, tile_7x1, tile_7x2, NULL, NULL}},
    [8] = {{NULL, tile_8x1, tile_8x2, NULL, NULL}},
    [9] = {{NULL, tile_9x1, tile_9x2, NULL, NULL}},
    [10] = {{NULL, tile_10x1, tile_10x2, NULL, NULL}},
    [11] = {{NULL, tile_11x1, tile_11x2, NULL, NULL}},
    [12] = {{NULL, tile_12x1, tile_12x2, NULL, NULL}},
};

void int8_vnni_linear(const struct int8_matrix *m, const uint8_t *x, size_t x_stride,
                      const struct quantization *quantizations, size_t rows, size_t begin,
                      size_t end, float *y, size_t y_stride, bool relu, struct fetch_list wanted) {
    const size_t panel_bytes = m->groups * INT8_GROUP_BYTES;
    struct job job = {
        .matrix = m, .x_stride = x_stride, .y = y, .y_stride = y_stride, .relu = relu};
    job.fetching = fetching_begin(wanted, (uintptr_t)m->bytes);
    /* Row blocks of almost equal height: a block of one row would cost as much as one of four. */
    size_t blocks = (rows + MAX_ROWS - 1) / MAX_ROWS;
    size_t tallest = blocks ? (rows + blocks - 1) / blocks : 0;
    size_t wide = tallest && tiles[tallest].by[4] ? 4 : 2;
    job.ahead_stride = blocks == 1 ? panel_bytes : 0; /* several blocks share the fetching */
    for (size_t panel = begin; panel < end;) {
        size_t panels = end - panel >= wide ? wide : end - panel >= 2 ? 2 : 1;
        for (size_t b = 0; b < blocks; b++) {
            size_t row = rows * b / blocks, height = rows * (b + 1) / blocks - row;
            job.ahead = (uintptr_t)m->bytes + (panel + panels + b % panels) * panel_bytes;
            tiles[height].by[panels](&job, x + row * x_stride, quantizations + row, row, panel);
        }
        panel += panels;
    }
}

/* The keys are the unsigned side here: q . (key - 128) = q . key - 128 * sum(q). */
void int8_vnni_scores(int32_t *dots, const int8_t *q, const uint8_t *keys, size_t blocks,
                      size_t groups, const uint8_t *ahead) {
    const size_t block_bytes = groups * INT8_GROUP_BYTES;
    const uintptr_t distance = (uintptr_t)ahead - (uintptr_t)keys;
    int32_t sum = 0;
    for (size_t i = 0; i < groups * INT8_GROUP; i++)
        sum += q[i];
    const __m512i start = _mm512_set1_epi32(-128 * sum);
    size_t b = 0;
    for (; b + 4 <= blocks; b += 4, keys += 4 * block_bytes) {
        __m512i s[4] = {start, start, start, start};
        for (size_t g = 0; g < groups; g++) {
            __m512i part = four((const uint8_t *)q + g * INT8_GROUP);
            UNROLL for (size_t i = 0; i < 4; i++) {
                const uint8_t *k = keys + i * block_bytes + g * INT8_GROUP_BYTES;
                fetch((uintptr_t)k + distance);
                s[i] = dot4(s[i], _mm512_loadu_si512(k), part);
            }
        }
        UNROLL for (size_t i = 0; i < 4; i++)
            _mm512_storeu_si512(dots + (b + i) * INT8_PANEL, s[i]);
    }
    for (; b < blocks; b++, keys += block_bytes) {
        __m512i even = start, odd = _mm512_setzero_si512();
        size_t g = 0;
        for (; g + 2 <= groups; g += 2) {
            const uint8_t *k = keys + g * INT8_GROUP_BYTES;
            fetch((uintptr_t)k + distance);
            fetch((uintptr_t)k + INT8_GROUP_BYTES + distance);
            even = dot4(even, _mm512_loadu_si512(k), four((const uint8_t *)q + g * INT8_GROUP));
            odd = dot4(odd, _mm512_loadu_si512(k + INT8_GROUP_BYTES),
                       four((const uint8_t *)q + (g + 1) * INT8_GROUP));
        }
        if (g < groups)
            even = dot4(even, _mm512_loadu_si512(keys + g * INT8_GROUP_BYTES),
                        four((const uint8_t *)q + g * INT8_GROUP));
        _mm512_storeu_si512(dots + b * INT8_PANEL, _mm512_add_epi32(even, odd));
    }
}

/* REGISTERS * 16 lanes at a time; a head of 64 goes through at once. */
#define MIX(REGISTERS)                                                                          \
    static void mix_##REGISTERS(int32_t *high, int32_t *low, const uint8_t *weights_high,       \
                                const uint8_t *weights_low, const int8_t *values, size_t quads, \
                                size_t stride, uintptr_t distance) {                            \
        __m512i h[REGISTERS], l[REGISTERS];                                                     \
        UNROLL for (size_t i = 0; i < REGISTERS; i++)                                           \
            h[i] = l[i] = _mm512_setzero_si512();                                               \
        for (size_t j = 0; j < quads; j++, values += stride) {                                  \
            __m512i wh = four(weights_high + j * INT8_GROUP);                                   \
            __m512i wl = four(weights_low + j * INT8_GROUP);                                    \
            UNROLL for (size_t i = 0; i < REGISTERS; i++) {                                     \
                __m512i v = _mm512_loadu_si512(values + i * INT8_GROUP_BYTES);                  \
                fetch((uintptr_t)values + i * INT8_GROUP_BYTES + distance);                     \
                h[i] = dot4(h[i], wh, v);                                        \
                l[i] = dot4(l[i], wl, v);                                        \
            }                                                                                   \
        }                                                                                       \
        UNROLL for (size_t i = 0; i < REGISTERS; i++) {                                         \
            _mm512_storeu_si512(high + i * INT8_PANEL, h[i]);                                   \
            _mm512_storeu_si512(low + i * INT8_PANEL, l[i]);                                    \
        }                                                                                       \
    }
MIX(1)
MIX(4)

void int8_vnni_mix(int32_t *high, int32_t *low, const uint8_t *weights_high,
                   const uint8_t *weights_low, const int8_t *values, size_t quads, size_t lanes,
                   const int8_t *ahead) {
    const size_t stride = lanes * INT8_GROUP;
    const uintptr_t distance = (uintptr_t)ahead - (uintptr_t)values;
    size_t done = 0;
    for (; done + 64 <= lanes; done += 64)
        mix_4(high + done, low + done, weights_high, weights_low,
              values + done * INT8_GROUP, quads, stride, distance);
    for (; done < lanes; done += 16)
        mix_1(high + done, low + done, weights_high, weights_low,
              values + done * INT8_GROUP, quads, stride, distance);
}

const struct int8_kernels int8_vnni = {
    .name = "avx512 vnni",
    .tile_rows = MAX_ROWS,
    .fetching_rows = SIZE_MAX,
    .linear = int8_vnni_linear,
    .scores = int8_vnni_scores,
    .mix = int8_vnni_mix,
};
#else
typedef int kernels_none; /* ISO C wants a declaration */
#endif
