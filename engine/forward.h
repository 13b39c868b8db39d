/* forward.h - the only forward pass, for training and serving alike.
 *
 * Works on spans: runs of consecutive positions of one sequence. Training is
 * T rows at position 0, prefill a chunk, decode one row, a busy server a mix.
 * The rows of all spans lie one after another; there is no padding anywhere.
 * Row i of a span attends to all earlier positions of its sequence and to
 * itself (the causal mask), never to another span's.
 *
 * Thread-safety: one call at a time per pool, activations and cache; the model
 * is only read. Nothing is allocated and nothing can fail.
 */
#ifndef ALPACA_ENGINE_FORWARD_H
#define ALPACA_ENGINE_FORWARD_H

#include "engine/activations.h"
#include "engine/kv_cache.h"
#include "engine/model.h"

#include <stdint.h>

struct pool;

struct span {
    int slot;  /* of the kv cache; ignored when the batch has no cache */
    int first; /* position of the span's first row; 0 without a cache */
    int rows;  /* at least 1 */
};

/* Dropout of one training pass. Masks are a pure function of (key, layer,
 * site, element), so backward() computes them again instead of storing them. */
struct dropout {
    float rate; /* 0: none */
    uint64_t key;
};

struct batch {
    const int32_t *ids; /* [rows] */
    int rows;           /* the sum over the spans; at most activations->max_rows */
    const struct span *spans;
    int span_count;
    struct kv_cache *cache; /* NULL: every span is a whole sequence of its own (training) */
    struct dropout dropout;
    /* [layers, 2, rows] factors on what a row's two sublayers add to it, or NULL for ones:
     * stochastic depth (Huang et al. 2016) in training. */
    const float *branch_scales;
    /* Every row attends to its whole span. Only for a batch without a cache, to measure what
     * leaving out the causal mask does. */
    bool unmasked;
};

/* The factors of one sublayer's rows, 0 for the attention and 1 for the hidden layer; or NULL. */
static inline const float *batch_branch_scales(const struct batch *batch, int layer, int sublayer) {
    size_t place = (size_t)layer * 2 + (size_t)sublayer;
    return batch->branch_scales ? batch->branch_scales + place * (size_t)batch->rows : NULL;
}

/* Runs the encoder over the batch. Its output, [rows, d_model], is
 * activations_input(activations, config, layers). */
void forward(const struct model *model, struct pool *pool, struct activations *activations,
             const struct batch *batch);

/* logits[count, vocab] of the given rows of the last forward(); rows NULL: rows 0..count-1. */
void forward_logits(const struct model *model, struct pool *pool,
                    const struct activations *activations, const int *rows, int count,
                    float *logits);
/* The same of the rows first .. first + count - 1. */
void forward_logits_range(const struct model *model, struct pool *pool,
                          const struct activations *activations, int first, int count,
                          float *logits);

#endif
