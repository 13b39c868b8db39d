/* cuda_bf16.h - CUDA's BF16 on a CPU; see cuda_runtime.h beside it. Owns nothing. Thread-safe. */
#ifndef ALPACA_TESTS_CUDA_EMULATION_CUDA_BF16_H
#define ALPACA_TESTS_CUDA_EMULATION_CUDA_BF16_H

#include <stdint.h>
#include <string.h>

struct __nv_bfloat16 {
    uint16_t bits;
    __nv_bfloat16() = default;
    explicit __nv_bfloat16(float x);
    explicit operator float() const;
};
struct __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

static inline __nv_bfloat16 emulated_bits(uint16_t bits) {
    __nv_bfloat16 x;
    x.bits = bits;
    return x;
}

static inline float __bfloat162float(__nv_bfloat16 x) {
    uint32_t bits = (uint32_t)x.bits << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* To the nearest, ties to even. */
static inline __nv_bfloat16 __float2bfloat16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (x != x)
        return emulated_bits(0x7fff);
    bits += 0x7fffu + (bits >> 16 & 1);
    return emulated_bits((uint16_t)(bits >> 16));
}

inline __nv_bfloat16::__nv_bfloat16(float x) : bits(__float2bfloat16(x).bits) {}
inline __nv_bfloat16::operator float() const {
    return __bfloat162float(*this);
}

static inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
    return __nv_bfloat162{__float2bfloat16(x), __float2bfloat16(y)};
}

#endif
