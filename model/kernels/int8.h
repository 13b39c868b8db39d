/* int8.h - integer sums for serving and training, per instruction set.
 *
 * Every sum is exact in 32 bits, so each set is free to add in its own order
 * and all give the same bits; int8_portable.c is the reference. What follows
 * in floating point (scale, bias, ReLU) is the same three operations on every
 * element everywhere.
 *
 * Aliasing: arrays do not overlap. Reading and writing stay inside the shapes
 * stated here. No array needs alignment, but panels at multiples of 64 bytes
 * are read faster. Thread-safe: pure functions on the caller's memory.
 */
#ifndef ALPACA_MODEL_KERNELS_INT8_H
#define ALPACA_MODEL_KERNELS_INT8_H

#include "model/kernels/fetch_list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    INT8_PANEL = 16, /* outputs side by side: one 512-bit register of sums */
    INT8_GROUP = 4,  /* inputs added up by one instruction */
    INT8_GROUP_BYTES = INT8_PANEL * INT8_GROUP,
    INT8_MAX_IN = 65536, /* 255 * 127 * 65536 is just below 2^31 */
};

/* Quantization parameters of a row of activations: x = (byte - zero_point) * scale, with
 * 0 <= zero_point <= 255. */
struct quantization {
    float scale;
    int32_t zero_point;
};

/* A weight matrix in the order that the kernels read it; what lies beyond `in`
 * and `out` is 0. weight[o][i] = byte * scales[o], with bytes from -127 to 127. */
struct int8_matrix {
    size_t in, out;       /* in at most INT8_MAX_IN, or sums could overflow */
    size_t groups;        /* in / 4, rounded up */
    int8_t *bytes;        /* [panels, groups, 16 outputs, 4 inputs] */
    float *scales;        /* [panels * 16] */
    int32_t *sums;        /* [panels * 16] each output's bytes added up */
    float *bias;          /* [panels * 16] */
};

static inline size_t int8_panels(const struct int8_matrix *matrix) {
    return (matrix->out + INT8_PANEL - 1) / INT8_PANEL;
}

struct int8_kernels {
    const char *name;

    /* How many rows, at most, share a panel's weights on their way through linear(): products are
     * best dealt out in blocks of so many. */
    size_t tile_rows;
    /* With fewer rows than these linear() fetches what `wanted` lists; 0: never. */
    size_t fetching_rows;

    /* y[r][o] = (x[r] - zero_point) . weight[o] * (scale[r] * scales[o]) + bias[o],
     * then max(0, .) when relu, for the outputs of panels [begin, end).
     * x is [rows, x_stride] with 4 * groups bytes of each row read; the last
     * panel writes its outputs below `out` only. */
    void (*linear)(const struct int8_matrix *matrix, const uint8_t *x, size_t x_stride,
                   const struct quantization *quantizations, size_t rows, size_t begin, size_t end,
                   float *y, size_t y_stride, bool relu, struct fetch_list wanted);

    /* dots[j] = q . (keys[j] - 128) for `blocks` * 16 positions j.
     * keys [blocks, groups, 16 positions, 4], q [groups * 4]. `ahead` is where the next call's
     * keys begin; a set may fetch them into its cache, but never depends on what is there. */
    void (*scores)(int32_t *dots, const int8_t *q, const uint8_t *keys, size_t blocks,
                   size_t groups, const uint8_t *ahead);

    /* high[i] = sum over j of weights_high[j] * values[j][i], low[i] likewise.
     * values [quads, lanes, 4 positions]; weights [quads * 4]; lanes a multiple of 16. `ahead`
     * is where the next call's values begin. */
    void (*mix)(int32_t *high, int32_t *low, const uint8_t *weights_high,
                const uint8_t *weights_low, const int8_t *values, size_t quads, size_t lanes,
                const int8_t *ahead);
};

/* The set that goes with kernels_get(); see kernels_select(). */
const struct int8_kernels *int8_kernels_get(void);

extern const struct int8_kernels int8_portable, int8_avx2, int8_vnni, int8_amx, int8_wasm;

#endif
