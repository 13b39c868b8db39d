/* AVX2. Its multiply-add of bytes saturates at 16 bits, which would not be exact, so bytes are
 * widened to 16 bits first and vpmaddwd adds pairs of products to 32 bits. Compiled with its own
 * flags (see the Makefile); called only after dispatch.c asked the CPU. */
#if defined(__x86_64__) || defined(__i386__)
#include "model/kernels/int8.h"

#include <immintrin.h>
#include <string.h>

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif
#define INLINE static inline __attribute__((always_inline))

/* 16 sums as they build up: quarter i holds outputs 4i .. 4i + 3, two halves of a sum each. */
struct sums {
    __m256i quarter[4];
};

INLINE struct sums sums_zero(void) {
    __m256i zero = _mm256_setzero_si256();
    return (struct sums){{zero, zero, zero, zero}};
}

INLINE int32_t four_bytes(const void *bytes) {
    int32_t four;
    memcpy(&four, bytes, sizeof four);
    return four;
}

INLINE __m256i sixteen_signed(const void *bytes) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(bytes));
}

INLINE __m256i sixteen_unsigned(const void *bytes) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128(bytes));
}

/* sums += the products of four small numbers, repeated, with 16 groups of four. */
INLINE void add_products(struct sums *sums, __m256i repeated, const __m256i groups[4]) {
    UNROLL for (int i = 0; i < 4; i++)
        sums->quarter[i] =
            _mm256_add_epi32(sums->quarter[i], _mm256_madd_epi16(repeated, groups[i]));
}

/* Sums 8 half .. 8 half + 7, their halves added. */
INLINE __m256i eight_sums(const struct sums *sums, int half) {
    __m256i mixed = _mm256_hadd_epi32(sums->quarter[2 * half], sums->quarter[2 * half + 1]);
    return _mm256_permute4x64_epi64(mixed, _MM_SHUFFLE(3, 1, 2, 0));
}

static void finish(const struct int8_matrix *m, const struct sums *sums,
                   const struct quantization *quantization, size_t first, float *y, bool relu) {
    float values[INT8_PANEL];
    for (int half = 0; half < 2; half++) {
        size_t o = first + 8 * (size_t)half;
        __m256i shift = _mm256_mullo_epi32(_mm256_set1_epi32(quantization->zero_point),
                                           _mm256_loadu_si256((const void *)(m->sums + o)));
        __m256i sum = _mm256_sub_epi32(eight_sums(sums, half), shift);
        __m256 scale =
            _mm256_mul_ps(_mm256_set1_ps(quantization->scale), _mm256_loadu_ps(m->scales + o));
        __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale);
        v = _mm256_add_ps(v, _mm256_loadu_ps(m->bias + o));
        if (relu)
            v = _mm256_max_ps(v, _mm256_setzero_ps()); /* NaN becomes 0, as in the reference */
        _mm256_storeu_ps(values + 8 * half, v);
    }
    size_t count = m->out - first < INT8_PANEL ? m->out - first : INT8_PANEL;
    memcpy(y, values, count * sizeof *y);
}

INLINE void tile(const int rows, const struct int8_matrix *m, const uint8_t *x, size_t x_stride,
                 const struct quantization *quantizations, size_t panel, float *y, size_t y_stride,
                 bool relu) {
    const int8_t *w = m->bytes + panel * m->groups * INT8_GROUP_BYTES;
    struct sums sums[2];
    UNROLL for (int r = 0; r < rows; r++)
        sums[r] = sums_zero();
    for (size_t g = 0; g < m->groups; g++, w += INT8_GROUP_BYTES, x += INT8_GROUP) {
        __m256i weights[4];
        UNROLL for (int i = 0; i < 4; i++)
            weights[i] = sixteen_signed(w + 16 * i);
        UNROLL for (int r = 0; r < rows; r++) {
            __m128i four = _mm_set1_epi32(four_bytes(x + (size_t)r * x_stride));
            add_products(&sums[r], _mm256_cvtepu8_epi16(four), weights);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        finish(m, &sums[r], &quantizations[r], panel * INT8_PANEL, y + (size_t)r * y_stride, relu);
}

static void linear(const struct int8_matrix *m, const uint8_t *x, size_t x_stride,
                   const struct quantization *quantizations, size_t rows, size_t begin, size_t end,
                   float *y, size_t y_stride, bool relu, struct fetch_list wanted) {
    (void)wanted;
    for (size_t panel = begin; panel < end; panel++) {
        float *to = y + panel * INT8_PANEL;
        size_t r = 0;
        for (; r + 2 <= rows; r += 2)
            tile(2, m, x + r * x_stride, x_stride, quantizations + r, panel, to + r * y_stride,
                 y_stride, relu);
        if (r < rows)
            tile(1, m, x + r * x_stride, x_stride, quantizations + r, panel, to + r * y_stride,
                 y_stride, relu);
    }
}

static void scores(int32_t *dots, const int8_t *q, const uint8_t *keys, size_t blocks,
                   size_t groups, const uint8_t *ahead) {
    (void)ahead;
    int32_t sum = 0;
    for (size_t i = 0; i < groups * INT8_GROUP; i++)
        sum += q[i];
    const __m256i offset = _mm256_set1_epi32(128 * sum);
    for (size_t b = 0; b < blocks; b++, dots += INT8_PANEL) {
        struct sums sums = sums_zero();
        for (size_t g = 0; g < groups; g++, keys += INT8_GROUP_BYTES) {
            __m256i part[4];
            UNROLL for (int i = 0; i < 4; i++)
                part[i] = sixteen_unsigned(keys + 16 * i);
            __m128i four = _mm_set1_epi32(four_bytes(q + g * INT8_GROUP));
            add_products(&sums, _mm256_cvtepi8_epi16(four), part);
        }
        for (int half = 0; half < 2; half++)
            _mm256_storeu_si256((void *)(dots + 8 * half),
                                _mm256_sub_epi32(eight_sums(&sums, half), offset));
    }
}

static void mix(int32_t *high, int32_t *low, const uint8_t *weights_high,
                const uint8_t *weights_low, const int8_t *values, size_t quads, size_t lanes,
                const int8_t *ahead) {
    (void)ahead;
    for (size_t i = 0; i < lanes; i += INT8_PANEL) {
        struct sums h = sums_zero(), l = sums_zero();
        for (size_t j = 0; j < quads; j++) {
            const int8_t *v = values + j * lanes * INT8_GROUP + i * INT8_GROUP;
            __m256i part[4];
            UNROLL for (int k = 0; k < 4; k++)
                part[k] = sixteen_signed(v + 16 * k);
            __m128i wh = _mm_set1_epi32(four_bytes(weights_high + j * INT8_GROUP));
            __m128i wl = _mm_set1_epi32(four_bytes(weights_low + j * INT8_GROUP));
            add_products(&h, _mm256_cvtepu8_epi16(wh), part);
            add_products(&l, _mm256_cvtepu8_epi16(wl), part);
        }
        for (int half = 0; half < 2; half++) {
            _mm256_storeu_si256((void *)(high + i + 8 * (size_t)half), eight_sums(&h, half));
            _mm256_storeu_si256((void *)(low + i + 8 * (size_t)half), eight_sums(&l, half));
        }
    }
}

const struct int8_kernels int8_avx2 = {
    .name = "avx2",
    .tile_rows = 12,
    .linear = linear,
    .scores = scores,
    .mix = mix,
};
#else
typedef int kernels_none; /* ISO C wants a declaration */
#endif
