/* int8_vnni.h - what the sets of a CPU with AVX-512 VNNI share: int8_vnni.c and, where it has tiles
 * too, int8_amx.c.
 *
 * Includes intrinsics, so only files that are compiled for AVX-512 include this.
 * Thread-safe: pure functions on the caller's memory.
 */
#ifndef ALPACA_MODEL_KERNELS_INT8_VNNI_H
#define ALPACA_MODEL_KERNELS_INT8_VNNI_H

#include "model/kernels/int8.h"

#include <immintrin.h>

/* The members of int8_vnni; see struct int8_kernels. */
void int8_vnni_linear(const struct int8_matrix *m, const uint8_t *x, size_t x_stride,
                      const struct quantization *quantizations, size_t rows, size_t begin,
                      size_t end, float *y, size_t y_stride, bool relu, struct fetch_list wanted);
void int8_vnni_scores(int32_t *dots, const int8_t *q, const uint8_t *keys, size_t blocks,
                      size_t groups, const uint8_t *ahead);
void int8_vnni_mix(int32_t *high, int32_t *low, const uint8_t *weights_high,
                   const uint8_t *weights_low, const int8_t *values, size_t quads, size_t lanes,
                   const int8_t *ahead);

/* From a row's sums over a panel to its outputs y[0 .. 16), or as many as are below `out`. */
static inline void int8_finish(const struct int8_matrix *m, size_t panel, __m512i sum,
                               const struct quantization *quantization, float *y, bool relu) {
    size_t first = panel * INT8_PANEL, left = m->out - first;
    __m512i shift = _mm512_mullo_epi32(_mm512_set1_epi32(quantization->zero_point),
                                       _mm512_loadu_si512(m->sums + first));
    __m512 scale = _mm512_mul_ps(_mm512_set1_ps(quantization->scale),
                                 _mm512_loadu_ps(m->scales + first));
    __m512 outputs = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(sum, shift)), scale);
    outputs = _mm512_add_ps(outputs, _mm512_loadu_ps(m->bias + first));
    if (relu)
        outputs = _mm512_max_ps(outputs, _mm512_setzero_ps()); /* NaN becomes 0: the reference */
    if (left >= INT8_PANEL)
        _mm512_storeu_ps(y, outputs);
    else
        _mm512_mask_storeu_ps(y, (__mmask16)((1u << left) - 1), outputs);
}

#endif
