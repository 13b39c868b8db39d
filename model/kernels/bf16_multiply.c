/* Products of packed bfloat16 matrices, tile by tile, in blocks that fit the caches. */
#include "model/kernels/bf16.h"

enum {
    BLOCK_BYTES = 448 * 1024, /* of packed A; a panel of B and the sums share its cache */
    K_BLOCK = 512,            /* 32 columns of it are what the first cache holds of B */
};

size_t bf16_block_rows(size_t k) {
    size_t panels = BLOCK_BYTES / (sizeof(uint32_t) * BF16_TILE_ROWS * ((k + 1) / 2));
    return (panels ? panels : 1) * BF16_TILE_ROWS;
}

size_t bf16_block_words(size_t k) {
    size_t panel = bf16_packed_words(BF16_TILE_ROWS, BF16_TILE_ROWS, k);
    return panel > BLOCK_BYTES / sizeof(uint32_t) ? panel : BLOCK_BYTES / sizeof(uint32_t);
}

void bf16_multiply(float *c, size_t stride, size_t m, size_t n, const uint32_t *a,
                   const uint32_t *b, size_t b_pairs, size_t k, const struct bf16_finish *finish) {
    const struct bf16_kernels *kernels = bf16_kernels_get();
    size_t pairs = (k + 1) / 2;
    for (size_t first = 0; first < pairs; first += K_BLOCK / 2) {
        size_t count = pairs - first < K_BLOCK / 2 ? pairs - first : K_BLOCK / 2;
        bool last = first + count == pairs;
        struct bf16_finish part = {finish->add || first > 0, NULL, last && finish->relu};
        for (size_t j = 0; j < n; j += BF16_TILE_COLUMNS) {
            size_t columns = n - j < BF16_TILE_COLUMNS ? n - j : BF16_TILE_COLUMNS;
            part.bias = last && finish->bias ? finish->bias + j : NULL;
            for (size_t i = 0; i < m; i += BF16_TILE_ROWS)
                kernels->tile(c + i * stride + j, stride,
                              m - i < BF16_TILE_ROWS ? m - i : BF16_TILE_ROWS, columns,
                              a + i * pairs + first * BF16_TILE_ROWS,
                              b + j * b_pairs + first * BF16_TILE_COLUMNS, count, &part);
        }
    }
}

void bf16_multiply_rows(float *c, size_t stride, size_t n, const float *x, size_t k, size_t begin,
                        size_t end, const uint32_t *b, uint32_t *block,
                        const struct bf16_finish *finish) {
    size_t most = bf16_block_rows(k);
    for (size_t row = begin; row < end; row += most) {
        size_t rows = end - row < most ? end - row : most;
        bf16_kernels_get()->pack_rows(block, BF16_TILE_ROWS, x + row * k, k, rows, k, 1.0f);
        bf16_multiply(c + row * stride, stride, rows, n, block, b, (k + 1) / 2, k, finish);
    }
}
