/* attention_bf16.h - attention's kernels in BF16, which attention.h's launches choose.
 *
 * `delta` has been filled before the gradient's. Ownership: as in attention.h. One thread.
 */
#ifndef ALPACA_TRAIN_CUDA_ATTENTION_BF16_H
#define ALPACA_TRAIN_CUDA_ATTENTION_BF16_H

#include "train/cuda/attention.h"

void launch_attention_bf16(const struct card_attention *pass);
void launch_attention_gradient_bf16(const struct card_attention *pass);

#endif
