/* attention_backward.h - the gradient of model/attention.h for whole sequences.
 *
 * It goes head by head and block by block of queries (attention_head_backward.h), so that no
 * [rows, positions] matrix is ever stored. All memory is the caller's. Uses the
 * pool, so one caller at a time.
 */
#ifndef ALPACA_TRAIN_GRAD_ATTENTION_BACKWARD_H
#define ALPACA_TRAIN_GRAD_ATTENTION_BACKWARD_H

#include "train/grad/attention_head_backward.h"

/* Floats of scratch per worker, whatever the dtype; a multiple of 16. */
size_t attention_backward_floats(const struct model_config *config);

/* Writes gradient.d_qkv from gradient.d_attention and what attention_stage() left. */
void attention_backward(struct pool *pool, struct attention_gradient gradient);

#endif
