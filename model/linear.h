/* linear.h - a linear layer y = x W^T + b in the dtype form it is run in.
 *
 * F32 goes through OpenBLAS, split over the pool: the reference, on any CPU.
 * BF16 is for training on CPUs that have it: products of bfloat16, fp32 sums.
 * INT8 is for serving, and for training where that may be less exact
 * (train/grad/int8_set.h): weights scaled per output row, activations per row at
 * run time, exact integer sums, so a row's result depends on nothing but that
 * row. Each form is a file, linear_FORM.c, behind linear_forward()'s switch.
 * A linear only points at parameters; whoever owns those owns the memory.
 * Thread-safety: linear_forward() uses the pool, so one caller at a time.
 */
#ifndef ALPACA_MODEL_LINEAR_H
#define ALPACA_MODEL_LINEAR_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;
struct bf16_matrix;
struct int8_matrix;
struct int8_gradient;
struct quantization;

enum dtype { DTYPE_F32, DTYPE_BF16, DTYPE_INT8 };

/* "f32", "bf16", "int8"; false for another name. */
bool dtype_parse(const char *name, enum dtype *dtype);
const char *dtype_name(enum dtype dtype);

struct linear {
    enum dtype dtype;
    int in, out;
    const float *weight; /* [out, in]; NULL when only a narrow form is left */
    const float *bias;   /* [out] */
    const struct bf16_matrix *bf16;
    const struct int8_matrix *int8;
    const struct int8_gradient *int8_gradient; /* in training only */
};

enum {
    LINEAR_SCRATCH_ROWS = 256, /* more rows are worked off in blocks of so many */
    LINEAR_ALIGNMENT = 64,     /* bytes; rows of narrow activations start at multiples */
};

/* Where the narrow quantizations keep a block of activations between quantizing and multiplying. */
struct linear_scratch {
    uint8_t *rows;          /* [LINEAR_SCRATCH_ROWS, widest input rounded up to LINEAR_ALIGNMENT] */
    struct quantization *quantizations; /* [LINEAR_SCRATCH_ROWS] what the bytes of a row mean */
};
/* `in` bytes rounded up to LINEAR_ALIGNMENT: from one row in linear_scratch to the next. */
size_t linear_row_bytes(int in);
/* Enough for every linear of at most `widest` inputs. */
void linear_scratch_layout(struct linear_scratch *scratch, int widest, struct arena *arena);

/* y[rows, out] = x[rows, in] W^T + bias, then max(0, .) when `relu`.
 * x and y do not overlap. */
void linear_forward(const struct linear *linear, struct pool *pool,
                    const struct linear_scratch *scratch, const float *x, size_t rows, float *y,
                    bool relu);

#endif
