/* batch.h - what one forward pass works on: spans of sequences, row after row.
 *
 * A span is a run of consecutive positions of one sequence. Training is T rows
 * at position 0, prefill a chunk, decode one row, a busy server a mix. The rows
 * of all spans lie one after another; there is no padding anywhere.
 */
#ifndef ALPACA_MODEL_BATCH_H
#define ALPACA_MODEL_BATCH_H

#include "model/dropout.h"
#include "model/kv_cache.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct span {
    int slot;  /* of the kv cache; ignored when the batch has no cache */
    int first; /* position of the span's first row; 0 without a cache */
    int rows;  /* at least 1 */
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

#endif
