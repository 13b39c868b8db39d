/* attention_backward_bf16.h - attention_backward.h with its products in BF16, the
 * gradient of attention_bf16.h. Uses the pool, so one caller at a time.
 */
#ifndef ALPACA_TRAIN_ATTENTION_BACKWARD_BF16_H
#define ALPACA_TRAIN_ATTENTION_BACKWARD_BF16_H

#include "engine/forward.h"

/* Floats of scratch per worker. */
size_t attention_backward_bf16_floats(const struct model_config *config);

/* As attention_backward(); scratch_floats lie between the workers' scratch. */
void attention_backward_bf16(const struct model_config *config, struct pool *pool,
                             const struct batch *batch, int layer,
                             const struct layer_activations *a, int log_sum_stride,
                             const float *d_attention, float *scratch, size_t scratch_floats,
                             float *d_qkv);

#endif
