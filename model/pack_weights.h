/* pack_weights.h - weight matrices in the precision and the order that the kernels read.
 *
 * INT8: each output's weights are scaled by the largest of them to -127 .. 127 and rounded to the
 * nearest. BF16: they are rounded to the nearest bfloat16, ties to even. Both lie panel by panel
 * (kernels/int8.h, kernels/bf16.h).
 *
 * Serving packs a model once, in INT8, and gives its fp32 matrices back (model_prepare() in
 * model.h). Training keeps them and packs them again after every step (struct packed_weights).
 * There INT8 means that outputs and the gradients of inputs are products of 8-bit integers; the
 * gradients of the weights stay in BF16, because they sum over many rows of different size and
 * 8 bits would lose the small ones (Wortsman et al., "Stable and low-precision training for
 * large-scale vision-language models", 2023, where this is SwitchBack). The head stays in BF16
 * too: most of a softmax's gradient is so small beside its largest value that 8 bits would make
 * it 0.
 *
 * Ownership: an INT8 matrix lies in its caller's arena. Packed weights own all their copies; while
 * they live, the model stays where it is and its linear layers run in them.
 * Thread-safety: packed weights use the pool and one workspace, so one caller at a time.
 */
#ifndef ALPACA_MODEL_PACK_WEIGHTS_H
#define ALPACA_MODEL_PACK_WEIGHTS_H

#include "base/arena.h"
#include "base/status.h"
#include "model/kernels/bf16.h"
#include "model/kernels/int8.h"
#include "model/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;

enum {
    TRAINING_CHUNK_ROWS = 2048, /* rows that gradients of weights are summed over at a time */
    TRAINING_INT8_ROWS = 96,    /* rows of gradients that stay in the second cache as INT8 */
};

/* What training's products need beside their operands. */
struct training_workspace {
    size_t block_words, product_floats;
    uint32_t *blocks;            /* [workers, block_words] rows of a first operand as BF16 */
    uint32_t *chunk;             /* [TRAINING_CHUNK_ROWS / 2, widest input, whole panels] BF16 */
    struct linear_scratch *int8; /* [workers] rows of gradients as INT8 */
    float *products;             /* [workers, product_floats]: [TRAINING_INT8_ROWS, widest input] */
};

/* The matrix W[out, in] of a linear layer, packed. What the layer does not run in is zeroed. */
struct packed_matrix {
    struct int8_matrix int8;          /* for y = x W^T + b */
    struct int8_matrix int8_backward; /* for dx = dy W: in and out exchanged, without a bias */
    uint32_t *bf16;          /* for y: columns are outputs, pairs go along the inputs */
    uint32_t *bf16_backward; /* for dx: columns are inputs, pairs go along the outputs */
    const struct training_workspace *workspace; /* NULL in serving */
};

/* ---- one matrix ----------------------------------------------------------- */

/* Takes a matrix's memory for in x out weights; nothing is filled in yet. */
void int8_matrix_layout(struct int8_matrix *matrix, int in, int out, struct arena *arena);
/* Quantizes weight[out, in] into a laid-out matrix and copies bias[out]. */
void int8_matrix_pack(const struct int8_matrix *matrix, const float *weight, const float *bias);

/* ---- a model's, in training ----------------------------------------------- */

struct packed_weights;

/* Packs the linear layers of a model as `dtype` and lets them run in it, and attention in BF16.
 * `gradients`: for the backward pass too. F32 packs nothing and gives NULL. BF16 and INT8 are
 * STATUS_UNSUPPORTED unless bf16_available(). */
enum status packed_weights_create(struct packed_weights **packed, struct model *model,
                                  enum dtype dtype, bool gradients, struct pool *pool,
                                  struct error *err);
/* To be called whenever the weights have changed. NULL is allowed. */
void packed_weights_refresh(struct packed_weights *packed, struct pool *pool);
/* The model runs in F32 again. NULL is allowed. */
void packed_weights_destroy(struct packed_weights *packed);

#endif
