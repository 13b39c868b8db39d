/* linear_backward.h - the gradient of linear_forward() (model/linear.h), in the
 * same dtype form as the layer; in INT8 the gradient of the weights is one of BF16.
 *
 * Every sum has a fixed order for a given number of workers; in BF16 and INT8 for any.
 * Uses the pool, so one caller at a time.
 */
#ifndef ALPACA_TRAIN_GRAD_LINEAR_BACKWARD_H
#define ALPACA_TRAIN_GRAD_LINEAR_BACKWARD_H

#include "model/linear.h"

struct pool;

/* Adds dy^T x to weight_grad[out, in] and dy's column sums to bias_grad[out], and
 * sets dx[rows, in] to dy W, or adds that when `add`. */
void linear_backward(const struct linear *linear, struct pool *pool, const float *x,
                     const float *dy, size_t rows, float *weight_grad, float *bias_grad,
                     float *dx, bool add);

#endif
