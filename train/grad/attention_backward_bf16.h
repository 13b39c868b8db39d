/* attention_backward_bf16.h - attention_backward.h with its products in BF16, the
 * gradient of attention_bf16.h. All memory is the caller's.
 * Uses the pool, so one caller at a time.
 */
#ifndef ALPACA_TRAIN_GRAD_ATTENTION_BACKWARD_BF16_H
#define ALPACA_TRAIN_GRAD_ATTENTION_BACKWARD_BF16_H

#include "train/grad/attention_head_backward.h"

/* Floats of scratch per worker. */
size_t attention_backward_bf16_floats(const struct model_config *config);

/* For a batch that attention_bf16_takes(). */
void attention_backward_bf16(struct pool *pool, int worker,
                             const struct attention_gradient *gradient);

#endif
