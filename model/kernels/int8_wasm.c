/* WebAssembly's 128-bit vectors: bytes are widened to 16 bits as they are loaded, and an
 * instruction adds up two products each in four sums of 32 bits. */
#include "model/kernels/int8.h"

#if defined(__wasm_simd128__)
#include <string.h>
#include <wasm_simd128.h>

#define INLINE static inline __attribute__((always_inline))

/* A register holds the sums of two outputs, each in two parts. */
enum { HALF = 4 }; /* registers for half a panel */

INLINE v128_t broadcast_unsigned(const uint8_t *four) {
    return wasm_u16x8_extend_low_u8x16(wasm_v128_load32_splat(four));
}

INLINE v128_t broadcast_signed(const int8_t *four) {
    return wasm_i16x8_extend_low_i8x16(wasm_v128_load32_splat(four));
}

INLINE v128_t add_products(v128_t sum, v128_t a, v128_t b) {
    return wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(a, b));
}

/* Four outputs in order from the parts of two registers. */
INLINE v128_t join(v128_t first, v128_t second) {
    return wasm_i32x4_add(wasm_i32x4_shuffle(first, second, 0, 2, 4, 6),
                          wasm_i32x4_shuffle(first, second, 1, 3, 5, 7));
}

/* Four outputs of linear(), from their integer sums. */
INLINE v128_t finish(v128_t sum, const struct int8_matrix *m, size_t first,
                     const struct quantization *q, bool relu) {
    v128_t zero_point = wasm_i32x4_mul(wasm_i32x4_splat(q->zero_point),
                                       wasm_v128_load(m->sums + first));
    v128_t scale = wasm_f32x4_mul(wasm_f32x4_splat(q->scale), wasm_v128_load(m->scales + first));
    v128_t value = wasm_f32x4_convert_i32x4(wasm_i32x4_sub(sum, zero_point));
    value = wasm_f32x4_add(wasm_f32x4_mul(value, scale), wasm_v128_load(m->bias + first));
    return relu ? wasm_f32x4_pmax(wasm_f32x4_const_splat(0.0f), value) : value;
}

static void linear(const struct int8_matrix *m, const uint8_t *x, size_t x_stride,
                   const struct quantization *quantizations, size_t rows, size_t begin, size_t end,
                   float *y, size_t y_stride, bool relu, struct fetch_list wanted) {
    (void)wanted;
    for (size_t panel = begin; panel < end; panel++) {
        size_t first = panel * INT8_PANEL;
        size_t count = m->out - first < INT8_PANEL ? m->out - first : INT8_PANEL;
        for (size_t r = 0; r < rows; r++) {
            const int8_t *bytes = m->bytes + panel * m->groups * INT8_GROUP_BYTES;
            const uint8_t *row = x + r * x_stride;
            v128_t sums[2 * HALF], values[HALF];
            memset(sums, 0, sizeof sums);
            for (size_t g = 0; g < m->groups; g++, bytes += INT8_GROUP_BYTES, row += INT8_GROUP) {
                v128_t four = broadcast_unsigned(row);
                for (size_t i = 0; i < 2 * HALF; i++)
                    sums[i] = add_products(sums[i], wasm_i16x8_load8x8(bytes + 8 * i), four);
            }
            for (size_t i = 0; i < HALF; i++)
                values[i] = finish(join(sums[2 * i], sums[2 * i + 1]), m, first + 4 * i,
                                   &quantizations[r], relu);
            memcpy(y + r * y_stride + first, values, count * sizeof *y);
        }
    }
}

static void scores(int32_t *dots, const int8_t *q, const uint8_t *keys, size_t blocks,
                   size_t groups, const uint8_t *ahead) {
    int32_t sum = 0;
    (void)ahead;
    for (size_t i = 0; i < groups * INT8_GROUP; i++)
        sum += q[i];
    v128_t offset = wasm_i32x4_splat(128 * sum);
    for (size_t b = 0; b < blocks; b++, dots += INT8_PANEL) {
        v128_t sums[2 * HALF];
        memset(sums, 0, sizeof sums);
        for (size_t g = 0; g < groups; g++, keys += INT8_GROUP_BYTES) {
            v128_t four = broadcast_signed(q + g * INT8_GROUP);
            for (size_t i = 0; i < 2 * HALF; i++)
                sums[i] = add_products(sums[i], wasm_u16x8_load8x8(keys + 8 * i), four);
        }
        for (size_t i = 0; i < HALF; i++)
            wasm_v128_store(dots + 4 * i,
                            wasm_i32x4_sub(join(sums[2 * i], sums[2 * i + 1]), offset));
    }
}

/* Half a panel of lanes at a time, so that the sums of both weights stay in registers. */
static void mix(int32_t *high, int32_t *low, const uint8_t *weights_high,
                const uint8_t *weights_low, const int8_t *values, size_t quads, size_t lanes,
                const int8_t *ahead) {
    (void)ahead;
    for (size_t lane = 0; lane < lanes; lane += INT8_PANEL / 2) {
        v128_t high_sums[HALF], low_sums[HALF];
        memset(high_sums, 0, sizeof high_sums);
        memset(low_sums, 0, sizeof low_sums);
        for (size_t j = 0; j < quads; j++) {
            const int8_t *bytes = values + (j * lanes + lane) * INT8_GROUP;
            v128_t more_high = broadcast_unsigned(weights_high + j * INT8_GROUP);
            v128_t more_low = broadcast_unsigned(weights_low + j * INT8_GROUP);
            for (size_t i = 0; i < HALF; i++) {
                v128_t eight = wasm_i16x8_load8x8(bytes + 8 * i);
                high_sums[i] = add_products(high_sums[i], eight, more_high);
                low_sums[i] = add_products(low_sums[i], eight, more_low);
            }
        }
        for (size_t i = 0; i < HALF / 2; i++) {
            wasm_v128_store(high + lane + 4 * i, join(high_sums[2 * i], high_sums[2 * i + 1]));
            wasm_v128_store(low + lane + 4 * i, join(low_sums[2 * i], low_sums[2 * i + 1]));
        }
    }
}

const struct int8_kernels int8_wasm = {
    .name = "wasm",
    .tile_rows = 12,
    .linear = linear,
    .scores = scores,
    .mix = mix,
};
#else
typedef int kernels_none; /* ISO C wants a declaration */
#endif
