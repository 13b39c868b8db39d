/* linear.h - a linear layer y = x W^T + b in the numeric form it is run in.
 *
 * F32 goes through OpenBLAS, split over the pool. Further forms (BF16 for
 * training, INT8 for serving) join the enum and linear_forward()'s switch.
 * A linear only points at parameters; whoever owns those owns the memory.
 * Thread-safety: linear_forward() uses the pool, so one caller at a time.
 */
#ifndef ALPACA_ENGINE_LINEAR_H
#define ALPACA_ENGINE_LINEAR_H

#include <stdbool.h>
#include <stddef.h>

struct pool;

enum numeric { NUMERIC_F32 };

struct linear {
    enum numeric numeric;
    int in, out;
    const float *weight; /* [out, in] */
    const float *bias;   /* [out] */
};

/* y[rows, out] = x[rows, in] W^T + bias, then max(0, .) when `relu`.
 * x and y do not overlap. */
void linear_forward(const struct linear *linear, struct pool *pool, const float *x, size_t rows,
                    float *y, bool relu);

#endif
