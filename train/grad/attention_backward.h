/* attention_backward.h - the gradient of model/attention.h for whole sequences.
 *
 * Head by head and block by block of queries (head_gradient.h), so that no
 * [rows, positions] matrix is ever stored. Uses the pool, so one caller at a time.
 */
#ifndef ALPACA_TRAIN_GRAD_ATTENTION_BACKWARD_H
#define ALPACA_TRAIN_GRAD_ATTENTION_BACKWARD_H

#include "model/attention.h"

/* Floats of scratch per worker, in any dtype form. */
size_t attention_backward_floats(const struct model_config *config);

/* d_qkv[rows, 3 d_model] from d_attention[rows, d_model] and what forward's attention left;
 * `dtype` is the form of the layer's linears, which attention follows. */
void attention_backward(const struct model_config *config, enum dtype dtype, struct pool *pool,
                        const struct batch *batch, int layer, const struct layer_activations *a,
                        int logsumexp_stride, const float *d_attention, float *scratch,
                        float *d_qkv);

#endif
