/* attention_backward.h - the gradient of engine/attention.h for whole sequences.
 *
 * The softmax is computed again block by block from the stored log_sums, and
 * sum_j(P dP) is taken as dO . O (Dao et al., "FlashAttention", 2022, appendix B).
 * Uses the pool, so one caller at a time.
 */
#ifndef ALPACA_TRAIN_ATTENTION_BACKWARD_H
#define ALPACA_TRAIN_ATTENTION_BACKWARD_H

#include "engine/attention.h"

/* Scratch floats per worker: softmax, softmax after dropout, its gradient. */
#define ATTENTION_BACKWARD_FLOATS(config) \
    ((size_t)3 * ATTENTION_BLOCK * (size_t)(config)->positions)

/* d_qkv[rows, 3 d_model] from d_attention[rows, d_model] and what attention_forward() left. */
void attention_backward(const struct model_config *config, struct pool *pool,
                        const struct batch *batch, int layer, const struct layer_activations *a,
                        int log_sum_stride, const float *d_attention, float *scores,
                        float *d_qkv);

#endif
