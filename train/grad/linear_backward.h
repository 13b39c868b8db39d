/* linear_backward.h - the gradient of a linear layer (model/linear.h), in the
 * same dtype as the layer; in INT8 the gradient of the weights is one of BF16
 * (model/pack_weights.h).
 *
 * Every sum has a fixed order for a given number of workers; in BF16 and INT8 for any.
 * Ownership: all memory is the caller's. Uses the pool, so one caller at a time.
 */
#ifndef ALPACA_TRAIN_GRAD_LINEAR_BACKWARD_H
#define ALPACA_TRAIN_GRAD_LINEAR_BACKWARD_H

#include "model/linear.h"

struct pool;

struct linear_gradient {
    const struct linear *linear;
    const float *x;   /* [rows, in] what the layer got */
    const float *dy;  /* [rows, out] the gradient of what it gave */
    size_t rows;
    float *weight_grad; /* [out, in]; dy^T x is added */
    float *bias_grad;   /* [out]; the column sums of dy are added */
    float *dx;          /* [rows, in] becomes dy W, or gets that added when `add` */
    bool add;
};

void linear_backward(struct pool *pool, struct linear_gradient gradient);

#endif
