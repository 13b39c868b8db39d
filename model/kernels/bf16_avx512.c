/* Compiled with AVX-512 F/BW/DQ/VL/BF16 (see the Makefile); called only after asking the CPU. */
#if defined(__x86_64__)
#include "model/kernels/bf16.h"
#include "model/kernels/bf16_avx512.h"

#include <immintrin.h>
#include <math.h>

enum { LANES = 16, TILE_VECTORS = BF16_TILE_COLUMNS / LANES };

static inline __mmask16 first_lanes(size_t count) {
    return (__mmask16)(count >= LANES ? 0xffffu : (1u << count) - 1);
}

/* ---- packing -------------------------------------------------------------- */

/* Words [pair 0 .. 15] of a line become column `line` of the result: w[p][i] was w[i][p]. */
static inline void transpose(__m512i w[LANES]) {
    __m512i t[LANES];
    for (int i = 0; i < LANES; i += 2) {
        t[i] = _mm512_unpacklo_epi32(w[i], w[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(w[i], w[i + 1]);
    }
    for (int i = 0; i < LANES; i += 4) {
        w[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        w[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        w[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        w[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    /* w[4g + j] holds, in 128-bit block b, the words 4b + j of lines 4g .. 4g + 3. */
    for (int j = 0; j < 4; j++) {
        __m512i low = _mm512_shuffle_i32x4(w[j], w[4 + j], 0x88);
        __m512i high = _mm512_shuffle_i32x4(w[j], w[4 + j], 0xdd);
        __m512i low2 = _mm512_shuffle_i32x4(w[8 + j], w[12 + j], 0x88);
        __m512i high2 = _mm512_shuffle_i32x4(w[8 + j], w[12 + j], 0xdd);
        t[j] = _mm512_shuffle_i32x4(low, low2, 0x88);
        t[8 + j] = _mm512_shuffle_i32x4(low, low2, 0xdd);
        t[4 + j] = _mm512_shuffle_i32x4(high, high2, 0x88);
        t[12 + j] = _mm512_shuffle_i32x4(high, high2, 0xdd);
    }
    for (int i = 0; i < LANES; i++)
        w[i] = t[i];
}

/* Up to 32 floats as 16 words of two; missing ones are zeros. */
static inline __m512i load_pairs(const float *x, size_t count, __m512 scale) {
    __m512 low = _mm512_maskz_loadu_ps(first_lanes(count), x);
    __m512 high = _mm512_maskz_loadu_ps(first_lanes(count > LANES ? count - LANES : 0), x + LANES);
    return (__m512i)_mm512_cvtne2ps_pbh(_mm512_mul_ps(high, scale), _mm512_mul_ps(low, scale));
}

/* Up to 16 lines, the first at x, into columns of the panel's words. */
static void pack_lines(uint32_t *panel, size_t width, size_t columns, const float *x,
                       size_t stride, size_t rows, size_t k, __m512 scale) {
    size_t pairs = (k + 1) / 2;
    for (size_t pair = 0; pair < pairs; pair += LANES) {
        __m512i words[LANES];
        size_t left = k - 2 * pair;
        for (size_t i = 0; i < LANES; i++)
            words[i] = i < rows ? load_pairs(x + i * stride + 2 * pair, left, scale)
                                : _mm512_setzero_si512();
        transpose(words);
        size_t count = pairs - pair < LANES ? pairs - pair : LANES;
        for (size_t p = 0; p < LANES; p++) /* a fixed count, so that words[] stays in registers */
            if (p < count)
                _mm512_mask_storeu_epi32(panel + (pair + p) * width, first_lanes(columns),
                                         words[p]);
    }
}

static void pack_rows(uint32_t *panels, size_t width, const float *x, size_t stride, size_t rows,
                      size_t k, float scale) {
    __m512 factor = _mm512_set1_ps(scale);
    for (size_t row = 0; row < rows; row += width, panels += width * ((k + 1) / 2))
        for (size_t line = 0; line < width; line += LANES) {
            size_t at = row + line, left = at < rows ? rows - at : 0;
            size_t columns = width - line < LANES ? width - line : LANES;
            pack_lines(panels + line, width, columns, x + (left ? at : 0) * stride, stride,
                       left < columns ? left : columns, k, factor);
        }
}

/* 16 floats as the lower halves of 16 words. */
static inline __m512i low_halves(__m512 x) {
    return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x));
}

enum {
    STRIP_ROWS = 64, /* so few that their pages and a panel's stay known to the CPU */
    AHEAD = 48,      /* floats, to the strip after next */
};

/* Up to 16 columns of k rows, pair after pair. */
static void pack_strip(uint32_t *words, size_t width, size_t lines, const float *x, size_t stride,
                       size_t k, size_t columns, float *sums) {
    __mmask16 mask = first_lanes(columns), written = first_lanes(lines);
    __m512 sum = sums ? _mm512_maskz_loadu_ps(mask, sums) : _mm512_setzero_ps();
    for (size_t row = 0; row < k; row += 2, x += 2 * stride, words += width) {
        bool alone = row + 1 == k;
        __builtin_prefetch(x + AHEAD); /* the rows are too many for the CPU to see a pattern */
        __builtin_prefetch(x + stride + AHEAD);
        __m512 low = _mm512_maskz_loadu_ps(mask, x);
        __m512 high = alone ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, x + stride);
        sum = _mm512_add_ps(_mm512_add_ps(sum, low), high);
        __m512i pair =
            _mm512_or_si512(low_halves(low), _mm512_slli_epi32(low_halves(high), 16));
        _mm512_mask_storeu_epi32(words, written, pair);
    }
    if (sums)
        _mm512_mask_storeu_ps(sums, mask, sum);
}

static void pack_columns(uint32_t *panels, size_t width, size_t panel_pairs, const float *x,
                         size_t stride, size_t k, size_t columns, float *sums) {
    for (size_t row = 0; row < k; row += STRIP_ROWS) {
        size_t rows = k - row < STRIP_ROWS ? k - row : STRIP_ROWS;
        uint32_t *words = panels + row / 2 * width;
        for (size_t column = 0; column < columns; column += width, words += panel_pairs * width)
            for (size_t line = 0; line < width; line += LANES) {
                size_t at = column + line, left = at < columns ? columns - at : 0;
                size_t lines = width - line < LANES ? width - line : LANES;
                size_t from = left ? at : 0; /* nothing is read or summed when none is left */
                pack_strip(words + line, width, lines, x + row * stride + from, stride, rows,
                           left < lines ? left : lines, sums ? sums + from : NULL);
            }
    }
}

/* ---- multiplying ---------------------------------------------------------- */

/* Writes one row of sums. bias and floor are neutral (0 and -infinity) where nothing is asked; a
 * NaN passes by the floor because it is the second operand. */
static inline __attribute__((always_inline)) void
finish_row(float *c, const __m512 sums[TILE_VECTORS], const __mmask16 masks[TILE_VECTORS],
           const __m512 bias[TILE_VECTORS], __m512 floor, bool add, bool whole) {
#pragma GCC unroll 4
    for (int j = 0; j < TILE_VECTORS; j++) {
        __m512 sum = _mm512_add_ps(sums[j], bias[j]);
        if (add)
            sum = _mm512_add_ps(sum, whole ? _mm512_loadu_ps(c + j * LANES)
                                           : _mm512_maskz_loadu_ps(masks[j], c + j * LANES));
        sum = _mm512_max_ps(floor, sum);
        if (whole)
            _mm512_storeu_ps(c + j * LANES, sum);
        else
            _mm512_mask_storeu_ps(c + j * LANES, masks[j], sum);
    }
}

static void tile(float *c, size_t stride, size_t rows, size_t columns, const uint32_t *a,
                 const uint32_t *b, size_t pairs, const struct bf16_finish *finish) {
    __m512 sums[BF16_TILE_ROWS][TILE_VECTORS];
    for (size_t i = 0; i < rows; i++) /* on its way while the products run */
        for (size_t j = 0; j < columns; j += LANES)
            __builtin_prefetch(c + i * stride + j, 1, 2);
#pragma GCC unroll 16
    for (int i = 0; i < BF16_TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int j = 0; j < TILE_VECTORS; j++)
            sums[i][j] = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (size_t pair = 0; pair < pairs; pair++) {
        __m512bh column[TILE_VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < TILE_VECTORS; j++)
            column[j] = (__m512bh)_mm512_loadu_si512(b + j * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < BF16_TILE_ROWS; i++) {
            __m512bh row = (__m512bh)_mm512_set1_epi32((int)a[i]);
#pragma GCC unroll 4
            for (int j = 0; j < TILE_VECTORS; j++)
                sums[i][j] = _mm512_dpbf16_ps(sums[i][j], row, column[j]);
        }
        a += BF16_TILE_ROWS;
        b += BF16_TILE_COLUMNS;
    }
    __mmask16 masks[TILE_VECTORS];
    __m512 bias[TILE_VECTORS], floor = _mm512_set1_ps(finish->relu ? 0.0f : -INFINITY);
#pragma GCC unroll 4
    for (size_t j = 0; j < TILE_VECTORS; j++) {
        masks[j] = first_lanes(columns > j * LANES ? columns - j * LANES : 0);
        bias[j] = finish->bias ? _mm512_maskz_loadu_ps(masks[j], finish->bias + j * LANES)
                               : _mm512_setzero_ps();
    }
    bool whole = rows == BF16_TILE_ROWS && columns == BF16_TILE_COLUMNS;
#pragma GCC unroll 16
    for (size_t i = 0; i < BF16_TILE_ROWS; i++, c += stride) {
        if (whole && finish->add)
            finish_row(c, sums[i], masks, bias, floor, true, true);
        else if (whole)
            finish_row(c, sums[i], masks, bias, floor, false, true);
        else if (i < rows)
            finish_row(c, sums[i], masks, bias, floor, finish->add, false);
    }
}

const struct bf16_kernels bf16_kernels_avx512 = {
    .pack_rows = pack_rows,
    .pack_columns = pack_columns,
    .tile = tile,
};
#else
typedef int bf16_none; /* ISO C wants a declaration */
#endif
