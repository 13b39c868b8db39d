/* attention.h - causal multi-head attention over spans.
 *
 * Per head: softmax(q K^T / sqrt(head_dim)) V over the positions up to the
 * row's own (Vaswani et al. 2017, section 3.2). Works block by block of query
 * rows, so that no [rows, positions] matrix is ever stored; what backward()
 * needs of the softmax is one number per row and head, logsumexp (the trick of
 * Dao et al., "FlashAttention", 2022).
 * Ownership: a pass only points at what others own.
 * Thread-safety: attention_stage() is called by every thread of a walk (base/pool.h).
 */
#ifndef ALPACA_MODEL_ATTENTION_H
#define ALPACA_MODEL_ATTENTION_H

#include "model/activations.h"
#include "model/batch.h"

enum { ATTENTION_BLOCK = 64 }; /* query rows whose scores are held at a time */

/* Scratch of one worker, whatever the dtype. */
size_t attention_scratch_floats(const struct model_config *config);

/* Attention of one layer over a batch. */
struct attention_pass {
    const struct model_config *config;
    enum dtype dtype; /* of the products where there is no cache: F32 or BF16 */
    const struct batch *batch;
    int layer;
    const struct layer_activations *a;
    int logsumexp_stride;  /* from one head's logsumexp to the next's */
    float *scratch;        /* [workers, scratch_floats] */
    size_t scratch_floats; /* a multiple of 16 */
    const struct linear_scratch *quantized; /* where rows go too, of an INT8 cache; or NULL */
    struct heads_done *heads_done;          /* [spans] for that */
};
struct attention_pass attention_pass(const struct model *model,
                                     const struct activations *activations,
                                     const struct batch *batch, int layer);

/* Reads a->qkv, writes a->attention and, but for an INT8 cache, a->logsumexp;
 * with a cache, also appends the spans' keys and values to it. One stage of a walk. */
void attention_stage(struct pool *pool, int worker, const struct attention_pass *pass);

#endif
