/* AVX2. Its multiply-add of bytes takes unsigned ones and signed ones, and saturates at 16 bits,
 * which two products of 255 and 127 exceed. So what it takes as unsigned are magnitudes of signed
 * bytes, 128 at most, and the other side has their signs. A negative one, -m, uses that
 * -m * w = m * ~w + m: an exclusive or flips w, and the m that is left over does not depend on w
 * and is added in the end. Then two products are from -2 * 128 * 128 to 2 * 128 * 127, which 16
 * bits hold. Compiled with its own flags (see the Makefile); called only after dispatch.c asked
 * the CPU. */
#if defined(__x86_64__) || defined(__i386__)
#include "model/kernels/int8.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum {
    HALF = INT8_GROUP_BYTES / 2, /* the bytes of a register */
    TILE_ROWS = 4,               /* at most, as are TILE_PANELS */
    TILE_PANELS = 4,
    PASS_ROWS = 64, /* rows, at most, that are split before they are multiplied */
    SPLITS = 8192,  /* and their groups: 64 KiB, as a thread may have little stack */
};

INLINE __m256i load(const void *from) {
    return _mm256_loadu_si256(from);
}

INLINE void store(void *to, __m256i v) {
    _mm256_storeu_si256(to, v);
}

/* Four bytes, eight times. */
INLINE __m256i four(const void *bytes) {
    int32_t once;
    memcpy(&once, bytes, sizeof once);
    return _mm256_set1_epi32(once);
}

/* Brings a line into L2 that is wanted soon; it may lie where nothing can be read. */
INLINE void fetch(uintptr_t line) {
    _mm_prefetch((const char *)line, _MM_HINT_T1);
}

/* Four signed bytes, eight times: what is multiplied, and what flips the other side's bytes. */
struct factor {
    __m256i magnitudes, flips; /* a flip is 0xff where the byte is negative, else 0 */
};

/* 16 sums of 32 bits. */
struct sums {
    __m256i low, high;
};

/* The additions are in assembly, because GCC 12 copies the sums of the intrinsics around, into
 * memory too when registers run out. */
INLINE __m256i add_half(__m256i sums, struct factor x, const void *w) {
    __m256i pairs = _mm256_maddubs_epi16(x.magnitudes, _mm256_xor_si256(x.flips, load(w)));
    __m256i products = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    __asm__("vpaddd %1, %0, %0" : "+x"(sums) : "x"(products));
    return sums;
}

/* Adds the products of x and 16 groups of four signed bytes. */
INLINE void add_products(struct sums *sums, struct factor x, const void *w) {
    sums->low = add_half(sums->low, x, w);
    sums->high = add_half(sums->high, x, (const char *)w + HALF);
}

/* Compilers disagree on when an array of sums may stay out of memory, so a tile has its up to four
 * in named variables, s0 to s3. */
#define EACH(DO) DO(0) DO(1) DO(2) DO(3)

/* ---- linear ----------------------------------------------------------------- */

/* A group of a row, less 128, as a struct factor has it. */
struct split {
    uint8_t magnitudes[INT8_GROUP], flips[INT8_GROUP];
};

/* Splits the first `count` of four groups and returns the sums of their flipped magnitudes. */
INLINE __m128i split_groups(struct split *to, size_t stride, const uint8_t *x, size_t count) {
    const __m128i zero = _mm_setzero_si128();
    __m128i bytes = _mm_xor_si128(_mm_loadu_si128((const void *)x), _mm_set1_epi8(-128));
    __m128i flips = _mm_cmpgt_epi8(zero, bytes), magnitudes = _mm_abs_epi8(bytes);
    __m128i even = _mm_unpacklo_epi32(magnitudes, flips);
    __m128i odd = _mm_unpackhi_epi64(even, even);
    _mm_storel_epi64((void *)to, even);
    if (count > 1)
        _mm_storel_epi64((void *)(to + stride), odd);
    even = _mm_unpackhi_epi32(magnitudes, flips);
    odd = _mm_unpackhi_epi64(even, even);
    if (count > 2)
        _mm_storel_epi64((void *)(to + 2 * stride), even);
    if (count > 3)
        _mm_storel_epi64((void *)(to + 3 * stride), odd);
    return _mm_sad_epu8(_mm_and_si128(magnitudes, flips), zero);
}

/* Splits a row's groups, to[0], to[stride] ..., and returns the sum of its flipped magnitudes. */
static int32_t split_row(struct split *to, size_t stride, const uint8_t *x, size_t groups) {
    __m128i flipped = _mm_setzero_si128();
    for (; groups >= 4; groups -= 4, x += 4 * INT8_GROUP, to += 4 * stride)
        flipped = _mm_add_epi64(flipped, split_groups(to, stride, x, 4));
    if (groups > 0) {
        uint8_t rest[4 * INT8_GROUP];
        memset(rest, 128, sizeof rest);
        memcpy(rest, x, groups * INT8_GROUP);
        flipped = _mm_add_epi64(flipped, split_groups(to, stride, rest, groups));
    }
    return _mm_cvtsi128_si32(_mm_add_epi64(flipped, _mm_unpackhi_epi64(flipped, flipped)));
}

INLINE struct factor factor_of(const struct split *x) {
    return (struct factor){four(x->magnitudes), four(x->flips)};
}

/* A product with the rows of a pass; see int8_kernels.linear. */
struct job {
    const struct int8_matrix *matrix;
    const struct quantization *quantizations;
    float *y;
    size_t y_stride;
    bool relu;
    struct split *splits;       /* [blocks of rows, groups, rows of the block] */
    int32_t flipped[PASS_ROWS]; /* of each row, as split_row() returns it */
};

INLINE __m256 finish_half(const struct job *job, size_t row, size_t first, __m256i sum) {
    const struct int8_matrix *m = job->matrix;
    const struct quantization *quantization = &job->quantizations[row];
    __m256i offset = _mm256_set1_epi32(quantization->zero_point - 128);
    sum = _mm256_add_epi32(sum, _mm256_set1_epi32(job->flipped[row]));
    sum = _mm256_sub_epi32(sum, _mm256_mullo_epi32(offset, load(m->sums + first)));
    __m256 scale =
        _mm256_mul_ps(_mm256_set1_ps(quantization->scale), _mm256_loadu_ps(m->scales + first));
    __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale);
    v = _mm256_add_ps(v, _mm256_loadu_ps(m->bias + first));
    /* NaN becomes 0, as in the reference. */
    return job->relu ? _mm256_max_ps(v, _mm256_setzero_ps()) : v;
}

INLINE void finish(const struct job *job, size_t row, size_t panel, struct sums sums) {
    size_t first = panel * INT8_PANEL, left = job->matrix->out - first;
    float *y = job->y + row * job->y_stride + first, values[INT8_PANEL];
    float *to = left < INT8_PANEL ? values : y;
    _mm256_storeu_ps(to, finish_half(job, row, first, sums.low));
    _mm256_storeu_ps(to + 8, finish_half(job, row, first + 8, sums.high));
    if (left < INT8_PANEL)
        memcpy(y, values, left * sizeof *y);
}

/* `rows` times `panels`, 4 at most. With each step it fetches a line, and for a second panel the
 * line as far behind it; for a single row nothing, as its weights come no faster so. */
INLINE void tile(const size_t rows, const size_t panels, const struct job *job, struct fetching *f,
                 size_t row, size_t panel) {
    const size_t groups = job->matrix->groups, panel_bytes = groups * INT8_GROUP_BYTES;
    const int8_t *w = job->matrix->bytes + panel * panel_bytes;
    const struct split *x = job->splits + row * groups;
    const __m256i zero = _mm256_setzero_si256();
    struct sums s0 = {zero, zero}, s1 = s0, s2 = s0, s3 = s0;
    for (size_t left = groups; left > 0;) {
        const size_t steps = left < f->lines ? left : f->lines, line_step = f->step;
        uintptr_t line = f->line;
        for (size_t i = 0; i < steps; i++, w += INT8_GROUP_BYTES, x += rows, line += line_step) {
            if (rows > 1)
                fetch(line);
            if (rows > 1 && panels > 1)
                fetch(line + panel_bytes);
#define ADD(i)                                                                                     \
    if (i < rows * panels)                                                                         \
        add_products(&s##i, factor_of(x + i / panels), w + i % panels * panel_bytes);
            EACH(ADD)
        }
        left -= steps;
        f->line = line;
        f->lines -= steps;
        if (f->lines == 0)
            fetching_next(f);
    }
#define FINISH(i)                                                                                  \
    if (i < rows * panels)                                                                         \
        finish(job, row + i / panels, panel + i % panels, s##i);
    EACH(FINISH)
}

typedef void tile_function(const struct job *job, struct fetching *f, size_t row, size_t panel);

#define TILE(ROWS, PANELS)                                                                         \
    static void tile_##ROWS##x##PANELS(const struct job *job, struct fetching *f, size_t row,      \
                                       size_t panel) {                                             \
        tile(ROWS, PANELS, job, f, row, panel);                                                    \
    }
TILE(1, 1) TILE(1, 2) TILE(1, 4) TILE(2, 1) TILE(2, 2) TILE(3, 1) TILE(4, 1)

static tile_function *const tiles[TILE_ROWS + 1][TILE_PANELS + 1] = {
    [1] = {[1] = tile_1x1, [2] = tile_1x2, [4] = tile_1x4},
    [2] = {[1] = tile_2x1, [2] = tile_2x2},
    [3] = {[1] = tile_3x1},
    [4] = {[1] = tile_4x1},
};

/* A pass: its rows are split, and then multiplied in blocks of almost equal height. While a panel's
 * first block is computed, the next panel's weights are fetched, and then what is wanted. */
static void multiply(struct job *job, const uint8_t *x, size_t x_stride, size_t rows, size_t begin,
                     size_t end, struct fetching *wanted) {
    const size_t groups = job->matrix->groups, panel_bytes = groups * INT8_GROUP_BYTES;
    const size_t blocks = (rows + TILE_ROWS - 1) / TILE_ROWS;
    const size_t wide = rows == 1 ? 4 : rows == 2 ? 2 : 1;
    for (size_t b = 0; b < blocks; b++) {
        size_t first = rows * b / blocks, height = rows * (b + 1) / blocks - first;
        for (size_t r = 0; r < height; r++)
            job->flipped[first + r] = split_row(job->splits + first * groups + r, height,
                                                x + (first + r) * x_stride, groups);
    }
    for (size_t panel = begin, panels; panel < end; panel += panels) {
        panels = end - panel >= wide ? wide : wide > 1 && end - panel >= 2 ? 2 : 1;
        struct fetching weights = {.line = (uintptr_t)job->matrix->bytes +
                                           (panel + panels) * panel_bytes,
                                   .lines = SIZE_MAX,
                                   .step = FETCH_LINE_BYTES};
        for (size_t b = 0; b < blocks; b++) {
            size_t first = rows * b / blocks, height = rows * (b + 1) / blocks - first;
            tiles[height][panels](job, b == 0 ? &weights : wanted, first, panel);
        }
    }
}

static void linear(const struct int8_matrix *m, const uint8_t *x, size_t x_stride,
                   const struct quantization *quantizations, size_t rows, size_t begin, size_t end,
                   float *y, size_t y_stride, bool relu, struct fetch_list wanted) {
    if (m->groups > SPLITS) { /* not even a row can be split */
        int8_portable.linear(m, x, x_stride, quantizations, rows, begin, end, y, y_stride, relu,
                             wanted);
        return;
    }
    struct split splits[SPLITS];
    struct fetching fetching = fetching_begin(wanted, (uintptr_t)m->bytes);
    const size_t most = m->groups * PASS_ROWS <= SPLITS ? PASS_ROWS : SPLITS / m->groups;
    const size_t passes = (rows + most - 1) / most;
    for (size_t pass = 0; pass < passes; pass++) {
        size_t first = rows * pass / passes, height = rows * (pass + 1) / passes - first;
        struct job job = {m, quantizations + first, y + first * y_stride, y_stride, relu, splits,
                          {0}};
        multiply(&job, x + first * x_stride, x_stride, height, begin, end, &fetching);
    }
}

/* ---- attention -------------------------------------------------------------- */

/* Here the query is split, and the keys, which are unsigned, become signed: q . (key - 128). */
INLINE struct factor factor_of_query(const int8_t *q) {
    __m256i bytes = four(q), flips = _mm256_cmpgt_epi8(_mm256_setzero_si256(), bytes);
    flips = _mm256_xor_si256(flips, _mm256_set1_epi8(-128)); /* takes 128 from a key too */
    return (struct factor){_mm256_abs_epi8(bytes), flips};
}

/* The dot products with `blocks` blocks of keys, 4 at most. */
INLINE void score(const size_t blocks, int32_t *dots, const int8_t *q, const uint8_t *keys,
                  size_t groups, __m256i flipped, uintptr_t distance) {
    const size_t block_bytes = groups * INT8_GROUP_BYTES;
    struct sums s0 = {flipped, flipped}, s1 = s0, s2 = s0, s3 = s0;
    for (size_t g = 0; g < groups; g++, q += INT8_GROUP, keys += INT8_GROUP_BYTES) {
        struct factor factor = factor_of_query(q);
#define ADD_BLOCK(i)                                                                               \
    if (i < blocks) {                                                                              \
        fetch((uintptr_t)keys + i * block_bytes + distance);                                       \
        add_products(&s##i, factor, keys + i * block_bytes);                                       \
    }
        EACH(ADD_BLOCK)
    }
#define STORE_BLOCK(i)                                                                             \
    if (i < blocks) {                                                                              \
        store(dots + i * INT8_PANEL, s##i.low);                                                    \
        store(dots + i * INT8_PANEL + 8, s##i.high);                                               \
    }
    EACH(STORE_BLOCK)
}

static void scores(int32_t *dots, const int8_t *q, const uint8_t *keys, size_t blocks,
                   size_t groups, const uint8_t *ahead) {
    const size_t block_bytes = groups * INT8_GROUP_BYTES;
    const uintptr_t distance = (uintptr_t)ahead - (uintptr_t)keys;
    int32_t negative = 0;
    for (size_t i = 0; i < groups * INT8_GROUP; i++)
        negative -= q[i] < 0 ? q[i] : 0;
    const __m256i flipped = _mm256_set1_epi32(negative);
    for (; blocks >= 4; blocks -= 4, dots += 4 * INT8_PANEL, keys += 4 * block_bytes)
        score(4, dots, q, keys, groups, flipped, distance);
    if (blocks & 2) {
        score(2, dots, q, keys, groups, flipped, distance);
        dots += 2 * INT8_PANEL;
        keys += 2 * block_bytes;
    }
    if (blocks & 1)
        score(1, dots, q, keys, groups, flipped, distance);
}

/* Unsigned bytes as digits of four bits: sums of the products with them stay within 16 bits for
 * eight quads, 8 * 2 * 15 * 128. */
enum { DIGIT_QUADS = 8 };

struct digits {
    uint32_t high[2], low[2]; /* of four weights, the upper digits first */
};

/* Of eight lanes. */
struct digit_sums {
    __m256i high[2], low[2];
};

INLINE __m256i add_shorts(__m256i sums, uint32_t digits, __m256i v) {
    __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi32((int)digits), v);
    __asm__("vpaddw %1, %0, %0" : "+x"(sums) : "x"(pairs));
    return sums;
}

INLINE void add_digits(struct digit_sums *sums, const struct digits *w, __m256i v) {
    sums->high[0] = add_shorts(sums->high[0], w->high[0], v);
    sums->high[1] = add_shorts(sums->high[1], w->high[1], v);
    sums->low[0] = add_shorts(sums->low[0], w->low[0], v);
    sums->low[1] = add_shorts(sums->low[1], w->low[1], v);
}

INLINE void add_sums(int32_t *to, const __m256i sums[2]) {
    __m256i upper = _mm256_madd_epi16(sums[0], _mm256_set1_epi16(16));
    __m256i lower = _mm256_madd_epi16(sums[1], _mm256_set1_epi16(1));
    store(to, _mm256_add_epi32(load(to), _mm256_add_epi32(upper, lower)));
}

static void split_weights(struct digits *to, const uint8_t *high, const uint8_t *low,
                          size_t quads) {
    const uint32_t digit = 0x0f0f0f0f;
    for (size_t j = 0; j < quads; j++, to++, high += INT8_GROUP, low += INT8_GROUP) {
        uint32_t h, l;
        memcpy(&h, high, sizeof h);
        memcpy(&l, low, sizeof l);
        *to = (struct digits){{h >> 4 & digit, h & digit}, {l >> 4 & digit, l & digit}};
    }
}

/* Adds 16 lanes of `quads` quads, DIGIT_QUADS at most, to their sums. Never inlined, or compilers
 * keep the digits of all quads in registers for all lanes, and then the sums do not fit. */
__attribute__((noinline)) static void mix_lanes(int32_t *high, int32_t *low,
                                                const struct digits *digits, size_t quads,
                                                const int8_t *values, size_t stride,
                                                uintptr_t distance) {
    const __m256i zero = _mm256_setzero_si256();
    struct digit_sums a = {{zero, zero}, {zero, zero}}, b = a;
    for (size_t j = 0; j < quads; j++, values += stride) {
        fetch((uintptr_t)values + distance);
        add_digits(&a, &digits[j], load(values));
        add_digits(&b, &digits[j], load(values + HALF));
    }
    add_sums(high, a.high);
    add_sums(high + 8, b.high);
    add_sums(low, a.low);
    add_sums(low + 8, b.low);
}

static void mix(int32_t *high, int32_t *low, const uint8_t *weights_high,
                const uint8_t *weights_low, const int8_t *values, size_t quads, size_t lanes,
                const int8_t *ahead) {
    const size_t stride = lanes * INT8_GROUP;
    const uintptr_t distance = (uintptr_t)ahead - (uintptr_t)values;
    memset(high, 0, lanes * sizeof *high);
    memset(low, 0, lanes * sizeof *low);
    for (size_t first = 0; first < quads; first += DIGIT_QUADS, values += DIGIT_QUADS * stride) {
        size_t count = quads - first < DIGIT_QUADS ? quads - first : DIGIT_QUADS;
        struct digits digits[DIGIT_QUADS];
        split_weights(digits, weights_high + first * INT8_GROUP, weights_low + first * INT8_GROUP,
                      count);
        for (size_t i = 0; i < lanes; i += INT8_PANEL)
            mix_lanes(high + i, low + i, digits, count, values + i * INT8_GROUP, stride, distance);
    }
}

const struct int8_kernels int8_avx2 = {
    .name = "avx2",
    .tile_rows = 12,
    .fetching_rows = SIZE_MAX,
    .linear = linear,
    .scores = scores,
    .mix = mix,
};
#else
typedef int kernels_none; /* ISO C wants a declaration */
#endif
