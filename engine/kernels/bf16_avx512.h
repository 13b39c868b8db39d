/* bf16_avx512.h - the kernels that bf16_dispatch.c may choose. Thread-safe: constant. */
#ifndef ALPACA_ENGINE_KERNELS_BF16_AVX512_H
#define ALPACA_ENGINE_KERNELS_BF16_AVX512_H

#include "engine/kernels/bf16.h"

extern const struct bf16_kernels bf16_kernels_avx512;

#endif
