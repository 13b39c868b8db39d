/* bf16_avx512.h - the kernels that bf16_dispatch.c may choose. A constant, owned by
 * the program; thread-safe. */
#ifndef ALPACA_MODEL_KERNELS_BF16_AVX512_H
#define ALPACA_MODEL_KERNELS_BF16_AVX512_H

#include "model/kernels/bf16.h"

extern const struct bf16_kernels bf16_kernels_avx512;

#endif
