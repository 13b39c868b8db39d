/* linear.h - a linear layer y = x W^T + b in the dtype it is run in.
 *
 * F32 goes through OpenBLAS, split over the pool: the reference, on any CPU.
 * BF16 is for training on CPUs that have it: products of bfloat16, fp32 sums.
 * INT8 is for serving, and for training where that may be less exact: weights
 * are scaled per output row, activations per row at run time, and the integer
 * sums are exact, so a row's result depends on nothing but that row.
 * Each dtype is a file, linear_DTYPE.c, behind linear_multiply()'s switch;
 * pack_weights.h makes the matrices that BF16 and INT8 read.
 * Ownership: a linear only points at parameters; whoever owns those owns the memory.
 * Thread-safety: every thread of a walk (base/pool.h) calls these, each with a product of its own
 * that says the same.
 */
#ifndef ALPACA_MODEL_LINEAR_H
#define ALPACA_MODEL_LINEAR_H

#include "base/arena.h"
#include "model/kernels/fetch_list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;
struct packed_matrix;
struct quantization;

enum dtype { DTYPE_F32, DTYPE_BF16, DTYPE_INT8 };

/* "f32", "bf16", "int8"; false for another name. */
bool dtype_parse(const char *name, enum dtype *dtype);
const char *dtype_name(enum dtype dtype);

struct linear {
    enum dtype dtype;
    int in, out;
    const float *weight; /* [out, in]; NULL when only INT8 is left */
    const float *bias;   /* [out] */
    const struct packed_matrix *packed; /* what BF16 and INT8 read; NULL in F32 */
};

enum {
    LINEAR_SCRATCH_ROWS = 256, /* more rows are worked off in blocks of so many */
    LINEAR_FEW_ROWS = 8,       /* each worker quantizes so few itself, and need not wait for it */
    LINEAR_ALIGNMENT = 64,     /* bytes; rows of quantized activations start at multiples */
};

/* Where INT8 keeps activations between quantizing and multiplying. */
struct linear_scratch {
    uint8_t *rows; /* [LINEAR_SCRATCH_ROWS, widest input rounded up to LINEAR_ALIGNMENT] */
    struct quantization *quantizations; /* [LINEAR_SCRATCH_ROWS] what the bytes of a row mean */
    /* Each worker's own, for the rows that it makes itself; NULL in scratch without workers. */
    uint8_t *own_rows;                      /* [workers, LINEAR_FEW_ROWS, as above] */
    struct quantization *own_quantizations; /* [workers, LINEAR_FEW_ROWS] */
    int widest;
};
/* `in` bytes rounded up to LINEAR_ALIGNMENT: from one row in linear_scratch to the next. */
size_t linear_row_bytes(int in);
/* Enough for every linear of at most `widest` inputs. */
void linear_scratch_layout(struct linear_scratch *scratch, int widest, int workers,
                           struct arena *arena);

/* Makes the rows of x, one by one. */
struct linear_source {
    void (*make)(const void *context, size_t row, float *x); /* NULL: x is there */
    const void *context;
    float *own_x; /* [LINEAR_FEW_ROWS, in] each worker's own, which it may make instead of x */
};

/* Says what to fetch while [begin, end) of `total` equal pieces of a product are computed. */
struct linear_wanted {
    struct fetch_list (*list)(const void *context, int worker, size_t begin, size_t end,
                              size_t total); /* NULL: nothing */
    const void *context;
};

/* y[rows, out] = x[rows, in] W^T + bias, then max(0, .) when `relu`. x and y do not overlap. */
struct linear_product {
    const struct linear *linear;
    const struct linear_scratch *scratch; /* may be NULL unless the layer runs in INT8 */
    float *x; /* only read, unless there is a source */
    size_t rows;
    float *y;
    bool relu;
    bool quantized; /* INT8: the rows of x are in the scratch already, by linear_quantize() */
    struct linear_source source;
    struct linear_wanted wanted; /* what INT8 may fetch meanwhile */
    bool ends_walk; /* multiply() is the walk's last stage, and may return before y is whole */
};

/* Stages of a walk: first x, then y. Preparing is no stage where multiply() does it on its way:
 * then every worker makes the rows itself, from what the source reads; one of them in x, the others
 * in their own_x, which stays in their own caches. Multiply() returns where this worker has the
 * rows: x also if it made none. */
void linear_prepare(struct pool *pool, int worker, const struct linear_product *product);
const float *linear_multiply(struct pool *pool, int worker, const struct linear_product *product);
/* Whether so many rows of a product are to be in the scratch before multiply(). */
bool linear_prepares(const struct linear *linear, size_t rows);
/* x[in] becomes a row in the scratch. */
void linear_quantize(const struct linear_scratch *scratch, size_t row, const float *x, int in);

#endif
