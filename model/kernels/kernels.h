/* kernels.h - the row-wise loops of the model, per instruction set.
 *
 * One source, rows.inc, is written in 16-lane vectors and compiled once per
 * instruction set (portable.c, avx2.c, avx512.c), so every set gives the same
 * bits: the same operations in the same order, no fused multiply-adds, own exp.
 * portable.c is the reference.
 *
 * Aliasing: arrays do not overlap unless said so. No array needs alignment and
 * nothing outside [0, n) is read or written. Thread-safe: pure functions on
 * the caller's memory; kernels_select() before any thread starts.
 */
#ifndef ALPACA_MODEL_KERNELS_KERNELS_H
#define ALPACA_MODEL_KERNELS_KERNELS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct quantization;

struct kernels {
    const char *name;

    /* y[n] += x[n]. */
    void (*add)(float *y, const float *x, size_t n);

    /* y[n] = y + bias, then max(0, .) when relu. */
    void (*add_bias)(float *y, const float *bias, size_t n, bool relu);

    /* y = (x - mean) * rstd * weight + bias with rstd =
     * 1 / sqrt(variance + eps), the biased variance (Ba et al. 2016). y may be x. */
    void (*layer_norm)(float *y, float *mean, float *rstd, const float *x, const float *weight,
                       const float *bias, size_t n, float eps);

    /* The gradient of layer_norm for one row: dx[n] is written, weight_grad[n]
     * and bias_grad[n] are added to. dx may be dy. */
    void (*layer_norm_backward)(float *dx, float *weight_grad, float *bias_grad, const float *dy,
                                const float *x, float mean, float rstd, const float *weight,
                                size_t n);

    /* x[n] becomes exp(x - logsumexp); returns logsumexp = log(sum(exp(x))),
     * computed against the maximum. n >= 1. Relative error of exp: below 3e-7. */
    float (*softmax)(float *x, size_t n);

    /* x[n] becomes exp(x - offset), the softmax again from its stored logsumexp. */
    void (*exp_minus)(float *x, float offset, size_t n);

    /* dy[i] becomes dy[i] * scale where y[i] > 0, else 0: the gradient of ReLU
     * and of a dropout behind it, from their common output y. */
    void (*relu_backward)(float *dy, const float *y, size_t n, float scale);

    /* sum(x[n] * y[n]) in a fixed order. */
    float (*dot)(const float *x, const float *y, size_t n);

    /* x[i] is 0 where dropout_bits(key, i) < threshold (dropout.h), else x[i] * scale. */
    void (*dropout)(float *x, size_t n, uint32_t key, uint32_t threshold, float scale);

    /* NaN and -infinity in x[n] become -infinity, infinity the largest number; the maximum. */
    float (*repair)(float *x, size_t n);

    /* x[n] becomes exp((x - max) / divisor). */
    void (*exp_scaled)(float *x, float max, float divisor, size_t n);

    /* Bit i is set where u < limit * weights[i], with u = rng_bits32(key, first + i) as a number
     * from 0 to 1. n <= 64. */
    uint64_t (*below)(const float *weights, size_t n, uint32_t key, uint32_t first, float limit);

    /* One query row of one head: out[head_dim] = softmax(scale * q K^T) V over
     * `count` positions whose rows lie `stride` floats apart; scores[count] is
     * scratch. Returns the logsumexp. */
    float (*attend_row)(float *out, const float *q, const float *keys, const float *values,
                        size_t stride, size_t count, size_t head_dim, float scale, float *scores);

    /* The bytes of int8.h: bytes[i] = round(x[i] / scale) + zero_point over the range of x[n] and
     * 0; bytes[n .. padded) become the zero point. padded is a multiple of 16. */
    void (*quantize_row)(uint8_t *bytes, size_t padded, struct quantization *quantization,
                         const float *x, size_t n);

    /* bytes[i] = round(x[i] / scale), from -127 to 127, 0 in [n, padded); returns the scale. */
    float (*quantize_signed)(int8_t *bytes, size_t padded, const float *x, size_t n);

    /* Attention probabilities: the softmax over scale * dots[j] * key_scales[j], j < count, each
     * times value_scales[j], as 16-bit numbers in a high and a low byte: factor * (256 * high[j] +
     * low[j]), 0 from count on. Returns the factor. All arrays have `padded` elements, a
     * multiple of 16; scratch is [padded]. */
    float (*attention_probabilities)(uint8_t *high, uint8_t *low, const int32_t *dots,
                                     const float *key_scales, const float *value_scales,
                                     size_t count, size_t padded, float scale, float *scratch);

    /* out[n] = (256 * high + low) * factor. */
    void (*combine_high_low)(float *out, const int32_t *high, const int32_t *low, size_t n,
                             float factor);
};

/* The kernels in use: the best that this CPU has, unless kernels_select() chose. */
const struct kernels *kernels_get(void);
/* "portable", "avx2", "avx512" or "amx", for tests and comparisons; NULL for the best.
 * STATUS_INVALID for another name, STATUS_UNSUPPORTED when the CPU lacks it, or the
 * process may not use it. */
enum status kernels_select(const char *name, struct error *err);

extern const struct kernels kernels_portable, kernels_avx2, kernels_avx512;

#endif
