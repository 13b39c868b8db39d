/* linear_dtypes.h - the quantizations behind linear_forward(), one file each.
 *
 * Only linear.c and the quantizations' own files include this. Every function has the
 * contract of linear_forward().
 */
#ifndef ALPACA_MODEL_LINEAR_DTYPES_H
#define ALPACA_MODEL_LINEAR_DTYPES_H

#include "model/linear.h"

void linear_f32_forward(const struct linear *linear, struct pool *pool,
                        const struct linear_scratch *scratch, const float *x, size_t rows,
                        float *y, bool relu);
void linear_bf16_forward(const struct linear *linear, struct pool *pool,
                         const struct linear_scratch *scratch, const float *x, size_t rows,
                         float *y, bool relu);
void linear_int8_forward(const struct linear *linear, struct pool *pool,
                         const struct linear_scratch *scratch, const float *x, size_t rows,
                         float *y, bool relu);

#endif
