/* attention_bf16.h - attention.h's attention with its products in BF16, for training.
 *
 * The result is the same up to the rounding of queries, keys, values and attention
 * probabilities to bfloat16; softmax and dropout are the fp32 ones, so logsumexp means
 * the same. It needs bf16_available() (kernels/bf16.h). Each head of a sequence is computed
 * by one worker in one fixed order.
 * Ownership: all memory is the pass's. Thread-safety: uses the pool, so one caller at a time.
 */
#ifndef ALPACA_MODEL_ATTENTION_BF16_H
#define ALPACA_MODEL_ATTENTION_BF16_H

#include "model/attention.h"

enum { ATTENTION_BF16_BLOCK = 96 }; /* query rows at a time: whole tiles */

/* Whether this batch can run here: whole sequences with the causal mask. */
bool attention_bf16_takes(const struct batch *batch);

/* Floats of scratch per worker. */
size_t attention_bf16_scratch_floats(const struct model_config *config);

/* As attention_stage(). */
void attention_bf16_stage(struct pool *pool, int worker, const struct attention_pass *pass);

#endif
