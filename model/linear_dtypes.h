/* linear_dtypes.h - what linear_forward() is in each dtype, one file each: linear_DTYPE.c.
 *
 * Only those files and linear.c include this. Ownership and thread-safety are
 * linear_forward()'s; a function may use `product` as its workers' task.
 */
#ifndef ALPACA_MODEL_LINEAR_DTYPES_H
#define ALPACA_MODEL_LINEAR_DTYPES_H

#include "model/linear.h"

void linear_f32_forward(struct pool *pool, struct linear_product *product);
void linear_bf16_forward(struct pool *pool, struct linear_product *product);
void linear_int8_forward(struct pool *pool, const struct linear_scratch *scratch,
                         const struct linear_product *product);

#endif
