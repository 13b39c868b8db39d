/* tensor_core.h - products of 16 x 16 by 16 x 8 numbers by a warp, as its instructions have them.
 *
 * Lane l of a warp is in group g = l / 4 and is its member t = l % 4. Of the sums [16][8] it holds
 * columns 2t and 2t + 1 of rows g (sums[0], sums[1]) and g + 8 (sums[2], sums[3]). A register holds
 * two BF16 that lie side by side, the first one low. Source: PTX ISA, "Matrix fragments for
 * mma.m16n8k16" and "ldmatrix". Owns nothing. The threads of a warp call together.
 */
#ifndef ALPACA_TRAIN_CUDA_TENSOR_CORE_H
#define ALPACA_TRAIN_CUDA_TENSOR_CORE_H

#include "train/cuda/card.h"

static inline __device__ uint32_t pack_pair(float low, float high) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

/* On a CPU the tests say what these three do (tests/cuda/emulation/). */
#ifdef __CUDACC__
/* sums += a b */
static inline __device__ void tensor_product(float sums[4], const uint32_t a[4], uint32_t b0,
                                             uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Four matrices of 8 x 8 from shared memory: lane l says where row l % 8 of matrix l / 8 is, and
 * gets of each matrix i columns 2t and 2t + 1 of row g, in registers[i]. */
static inline __device__ void load_matrices(uint32_t registers[4], const bf16 *row) {
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(at)
                 : "memory");
}

/* The same of the transposed matrices: rows 2t and 2t + 1 of column g. */
static inline __device__ void load_transposed(uint32_t registers[4], const bf16 *row) {
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(at)
                 : "memory");
}
#endif

#endif
