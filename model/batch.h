/* batch.h - what one forward pass works on: spans of sequences, row after row.
 *
 * A span is a run of consecutive positions of one sequence. Training is T rows
 * at position 0, prefill a chunk, decode one row, a busy server a mix. The rows
 * of all spans lie one after another; there is no padding anywhere.
 * Ownership: a batch points at what its caller owns. Thread-safety: it is only read.
 */
#ifndef ALPACA_MODEL_BATCH_H
#define ALPACA_MODEL_BATCH_H

#include "model/kernels/dropout.h"
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
    /* Every row attends to its whole span. Only for a batch without a cache, to measure what
     * leaving out the causal mask does. */
    bool unmasked;
};

#endif
