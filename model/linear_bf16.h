/* linear_bf16.h - linear layers in BF16 for training: fp32 weights stay the
 * master copy, products take them and the activations rounded to bfloat16 and
 * sum in fp32. Wants a CPU with AVX-512 BF16 (model/kernels/bf16.h).
 *
 * Ownership: a set owns the packed copies of some linears' matrices and the
 * workspace to multiply them in; while it lives, those linears run in BF16 and
 * have to stay where they are. bf16_set_refresh() packs again after the weights
 * changed.
 * Thread-safety: everything here uses the pool or the workspace, so one
 * caller at a time per set.
 */
#ifndef ALPACA_MODEL_LINEAR_BF16_H
#define ALPACA_MODEL_LINEAR_BF16_H

#include "base/status.h"
#include "model/kernels/bf16.h"
#include "model/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;

enum { BF16_CHUNK_ROWS = 2048 }; /* rows that gradients are summed over at a time */

/* A worker's room for packed A, and everybody's for a packed chunk of activations. */
struct bf16_workspace {
    size_t worker_words;
    uint32_t *workers; /* [workers, worker_words] */
    uint32_t *chunk;   /* [BF16_CHUNK_ROWS / 2, widest input rounded up to panels] */
};

struct bf16_matrix {
    uint32_t *forward;  /* columns are outputs, pairs along the inputs: y = x W^T */
    uint32_t *backward; /* columns are inputs, pairs along the outputs: dx = dy W; or NULL */
    const struct bf16_workspace *workspace;
};

struct bf16_set;

bool bf16_available(void);

enum { BF16_MAX_LINEARS = 4 * MODEL_MAX_LAYERS + 1 };

/* Packs the matrices of linears[count] and switches them to BF16. `gradients`: also the form
 * that backward needs. A linear that runs in INT8 stays so and only gets the workspace. */
enum status bf16_set_create(struct bf16_set **set, struct linear *const *linears, int count,
                            bool gradients, struct pool *pool, struct error *err);
/* All linears of a model, into linears[BF16_MAX_LINEARS]; returns how many. */
int bf16_model_linears(struct model *model, struct linear **linears);
void bf16_set_refresh(struct bf16_set *set, struct pool *pool);
/* NULL is allowed. The linears are F32 again. */
void bf16_set_destroy(struct bf16_set *set);

/* ---- products on packed operands, for the calling worker ------------------ */

/* Rows of A to pack at a time so that they stay in the second cache: a multiple of
 * BF16_TILE_ROWS. */
size_t bf16_block_rows(size_t k);
/* Words of packed A, a block of it, for products of depth k and of any smaller depth. */
size_t bf16_room_words(size_t k);

/* c[m, n] = A B, or added to c; both operands packed with the tile's widths. B's panels have
 * b_pairs pairs, of which the first ceil(k / 2) are used. */
void bf16_multiply(float *c, size_t stride, size_t m, size_t n, const uint32_t *a,
                   const uint32_t *b, size_t b_pairs, size_t k, const struct bf16_finish *finish);

/* c[rows, n] = x B over rows [begin, end) of x[*, k], packed block by block in `room`. */
void bf16_multiply_rows(float *c, size_t stride, size_t n, const float *x, size_t k, size_t begin,
                        size_t end, const uint32_t *b, uint32_t *room,
                        const struct bf16_finish *finish);

#endif
