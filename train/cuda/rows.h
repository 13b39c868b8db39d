/* rows.h - what training does between the products: row by row, or number by number.
 *
 * It is written once, for the kernels on a card and for the tests, which call the same functions
 * on the CPU. A team of threads works on a row, and each thread holds every ROW_LANES'th column:
 * on a card 32 threads, a warp; in C one thread, which then holds them all. Sums over a team have
 * a fixed order. Sources: model/kernels/kernels.h, whose functions do the same on the CPU.
 * Ownership: all memory is the caller's. Thread-safe: pure functions of a team's arguments.
 */
#ifndef ALPACA_TRAIN_CUDA_ROWS_H
#define ALPACA_TRAIN_CUDA_ROWS_H

#include "model/kernels/dropout.h"

#include <math.h>
#include <stdbool.h>
#ifdef __cplusplus
#include <cuda_runtime.h>
#endif

/* PER_LANE: columns that a thread holds, at most. */
#ifdef __cplusplus
#define ROW_LANES 32
#define ROW_LANE ((int)(threadIdx.x % ROW_LANES))
#define TEAM_INLINE static inline __device__
#define ROW_FUNCTION template <int PER_LANE> static inline __device__
#define UNROLL _Pragma("unroll")

TEAM_INLINE float row_sum(float x) {
    for (int step = 16; step > 0; step /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}
TEAM_INLINE float row_max(float x) {
    for (int step = 16; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}
#else
enum { ROW_LANES = 1, ROW_LANE = 0, PER_LANE = 1024 };
#define TEAM_INLINE static inline
#define ROW_FUNCTION static inline
#define UNROLL
TEAM_INLINE float row_sum(float x) {
    return x;
}
TEAM_INLINE float row_max(float x) {
    return x;
}
#endif

/* For each column that this thread holds: its place i in the thread's array, and the column. */
#define EACH_COLUMN(i, column, n)                                                               \
    UNROLL for (int i = 0, column = ROW_LANE; i < PER_LANE; i++, column += ROW_LANES)           \
        if (column < (n))

/* ---- dropout -------------------------------------------------------------- */

/* What the rows of one site share. */
struct row_dropout {
    const uint32_t *keys; /* [rows]; NULL: no dropout */
    uint32_t threshold;
    float scale;
};

SHARED_INLINE float drop(float x, uint32_t key, uint32_t column, uint32_t threshold, float scale) {
    return dropout_bits(key, column) < threshold ? 0.0f : x * scale;
}

ROW_FUNCTION void row_drop(float *x, int n, const struct row_dropout *dropout, int row) {
    if (!dropout->keys)
        return;
    uint32_t key = dropout->keys[row];
    EACH_COLUMN (i, column, n)
        x[i] = drop(x[i], key, (uint32_t)column, dropout->threshold, dropout->scale);
}

/* ---- layer norm ----------------------------------------------------------- */

struct row_norm {
    const float *weight, *bias; /* [n] */
    int n;
    float eps;
};

/* y = (x - mean) * rstd * weight + bias */
ROW_FUNCTION void row_norm_forward(const struct row_norm *norm, float *y, const float *x,
                                   float *mean, float *rstd) {
    float sum = 0, squares = 0;
    EACH_COLUMN (i, column, norm->n)
        sum += x[i];
    *mean = row_sum(sum) / (float)norm->n;
    EACH_COLUMN (i, column, norm->n)
        squares += (x[i] - *mean) * (x[i] - *mean);
    *rstd = 1.0f / sqrtf(row_sum(squares) / (float)norm->n + norm->eps);
    EACH_COLUMN (i, column, norm->n)
        y[i] = (x[i] - *mean) * *rstd * norm->weight[column] + norm->bias[column];
}

/* With u = (x - mean) * rstd and g = dy * weight, dy becomes rstd * (g - average(g) - u *
 * average(g * u)); dy * u and dy are added to the sums for weight and bias. */
ROW_FUNCTION void row_norm_backward(const struct row_norm *norm, float *dy, const float *x,
                                    const float *stats, float *weight_sum, float *bias_sum) {
    float mean = stats[0], rstd = stats[1], sum_g = 0, sum_gu = 0;
    EACH_COLUMN (i, column, norm->n) {
        float g = dy[i] * norm->weight[column];
        sum_g += g;
        sum_gu += g * ((x[i] - mean) * rstd);
    }
    float average_g = row_sum(sum_g) / (float)norm->n;
    float average_gu = row_sum(sum_gu) / (float)norm->n;
    EACH_COLUMN (i, column, norm->n) {
        float u = (x[i] - mean) * rstd;
        weight_sum[i] += dy[i] * u;
        bias_sum[i] += dy[i];
        dy[i] = rstd * (dy[i] * norm->weight[column] - average_g - u * average_gu);
    }
}

/* ---- numbers -------------------------------------------------------------- */

/* The gradient of ReLU and a dropout behind it, from their common output y. */
SHARED_INLINE float relu_gradient(float dy, float y, float scale) {
    return y > 0.0f ? dy * scale : 0.0f;
}

/* The gradient of one logit of weight * -sum_i target_i log softmax_i: softmax - target. The target
 * is the token's, but for the share soft_weight, which is the teacher's `soft`. */
struct logit_target {
    float weight, soft_weight;
};
SHARED_INLINE float logit_gradient(const struct logit_target *t, float softmax, bool token,
                                   float soft) {
    float target = (token ? 1.0f - t->soft_weight : 0.0f) + t->soft_weight * soft;
    return (softmax - target) * t->weight;
}

/* ---- one key of one query ------------------------------------------------- */

/* A step of softmax(S) V over the keys one by one: the maximum so far, and the sum of
 * exp(s - maximum) (Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018). */
struct online_softmax {
    float max, sum;
};
/* Takes a score. Returns its share of the new sum; *kept is what that of all before shrinks by. */
TEAM_INLINE float online_softmax_take(struct online_softmax *o, float score, float *kept) {
    float max = fmaxf(o->max, score), share = expf(score - max);
    *kept = expf(o->max - max);
    o->sum = o->sum * *kept + share;
    o->max = max;
    return share;
}

/* From a score, its row's logsumexp and what the gradient of P is before dropout: dS. `total` is
 * dO . O of the row (train/grad/attention_head_backward.h). */
SHARED_INLINE float score_gradient(float softmax, float d_probability, float total) {
    return softmax * (d_probability - total);
}

#endif
