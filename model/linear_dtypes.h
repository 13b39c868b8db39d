/* linear_dtypes.h - what linear_multiply() is in each dtype, one file each: linear_DTYPE.c.
 *
 * Only those files and linear.c include this. Ownership and thread-safety are
 * linear_multiply()'s.
 */
#ifndef ALPACA_MODEL_LINEAR_DTYPES_H
#define ALPACA_MODEL_LINEAR_DTYPES_H

#include "model/linear.h"

void linear_f32_multiply(struct pool *pool, int worker, const struct linear_product *product);
void linear_bf16_multiply(struct pool *pool, int worker, const struct linear_product *product);
void linear_int8_multiply(struct pool *pool, int worker, const struct linear_product *product);
/* Every worker makes and quantizes the rows, LINEAR_FEW_ROWS at most, for itself. */
const float *linear_int8_multiply_few(struct pool *pool, int worker,
                                      const struct linear_product *product);

#endif
