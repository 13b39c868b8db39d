/* bf16.h - matrix products of bfloat16 pairs with fp32 sums.
 *
 * A product C[m, n] = A[m, k] B[k, n] runs on packed operands. A packed matrix
 * is a row of panels; a panel holds `width` lines (rows of A or columns of B)
 * as [pairs of k][width] 32-bit words, each word two neighbors along k, the
 * lower k in the lower half. Lines and pairs beyond the matrix are zeros. fp32
 * values are rounded to the nearest bfloat16, ties to even; the products are
 * exact and summed in fp32 in the order of k, so an element of C depends on
 * nothing but its row of A and its column of B.
 *
 * Only for CPUs with AVX-512 BF16: bf16_kernels_get() gives NULL elsewhere.
 * Aliasing: operands do not overlap. Ownership: all memory is the caller's.
 * Thread-safe: pure functions.
 */
#ifndef ALPACA_MODEL_KERNELS_BF16_H
#define ALPACA_MODEL_KERNELS_BF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BF16_TILE_ROWS = 12,    /* width of A's panels; with two vectors of columns 24 sums */
    BF16_TILE_COLUMNS = 32, /* width of B's panels */
};

/* What a tile does with its sums. */
struct bf16_finish {
    bool add;          /* to what C holds, instead of writing over it */
    const float *bias; /* [columns] added too, or NULL */
    bool relu;         /* then max(0, .) */
};

struct bf16_kernels {
    /* `rows` lines of x, pairs along its contiguous dimension of k floats, times `scale`.
     * Writes ceil(rows / width) panels of [ceil(k / 2)][width]. */
    void (*pack_rows)(uint32_t *panels, size_t width, const float *x, size_t stride, size_t rows,
                      size_t k, float scale);

    /* `columns` lines of x[k, columns], pairs along its rows: the first ceil(k / 2) pairs of
     * panels that have panel_pairs of them in all. Adds each column's sum to sums[columns]
     * unless that is NULL. */
    void (*pack_columns)(uint32_t *panels, size_t width, size_t panel_pairs, const float *x,
                         size_t stride, size_t k, size_t columns, float *sums);

    /* One tile: c[rows <= BF16_TILE_ROWS, columns <= BF16_TILE_COLUMNS] from one panel each. */
    void (*tile)(float *c, size_t stride, size_t rows, size_t columns, const uint32_t *a,
                 const uint32_t *b, size_t pairs, const struct bf16_finish *finish);
};

/* NULL when this CPU has no bfloat16 products. */
const struct bf16_kernels *bf16_kernels_get(void);

static inline bool bf16_available(void) {
    return bf16_kernels_get() != NULL;
}

/* Words of a packed matrix of `lines` lines. */
static inline size_t bf16_packed_words(size_t lines, size_t width, size_t k) {
    return (lines + width - 1) / width * width * ((k + 1) / 2);
}

/* ---- whole products, on the calling thread -------------------------------- */

/* Rows of A to pack at a time so that they stay in the second cache: a multiple of
 * BF16_TILE_ROWS. */
size_t bf16_block_rows(size_t k);
/* Words of such a block, enough for products of depth k and of any smaller depth. */
size_t bf16_block_words(size_t k);

/* c[m, n] = A B, or added to c; both operands packed with the tile's widths. B's panels have
 * b_pairs pairs, of which the first ceil(k / 2) are used. */
void bf16_multiply(float *c, size_t stride, size_t m, size_t n, const uint32_t *a,
                   const uint32_t *b, size_t b_pairs, size_t k, const struct bf16_finish *finish);

/* c[rows, n] = x B over rows [begin, end) of x[*, k], packed block by block in
 * block[bf16_block_words(k)]. */
void bf16_multiply_rows(float *c, size_t stride, size_t n, const float *x, size_t k, size_t begin,
                        size_t end, const uint32_t *b, uint32_t *block,
                        const struct bf16_finish *finish);

#endif
