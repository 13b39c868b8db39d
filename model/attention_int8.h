/* attention_int8.h - attention over an INT8 cache, one query row at a time.
 *
 * The query's bytes times the keys' and the softmax's 16-bit probabilities times the
 * values' bytes are exact integer sums; what is left in floating point goes
 * over the row's own positions in one order. So a row's result depends on
 * nothing but its sequence, whatever shares its batch.
 * Thread-safety: each call has its own scratch; calls for different heads of a
 * cache may run at the same time.
 */
#ifndef ALPACA_MODEL_ATTENTION_INT8_H
#define ALPACA_MODEL_ATTENTION_INT8_H

#include "model/attention.h"

#include <stdatomic.h>

/* How many heads of a span have been attended; 0 before and after a pass. */
struct heads_done {
    _Alignas(64) atomic_int count; /* a cache line each, as workers count next to each other */
};

struct head_rows {
    const float *q, *k, *v; /* [rows] of head_dim floats, `stride` floats apart */
    size_t stride;
    float *out; /* [rows] of head_dim floats, `out_stride` apart */
    size_t out_stride;
    size_t first, rows; /* position of the first row, and how many */
};

size_t attention_int8_scratch_bytes(const struct model_config *config);

/* Appends the rows' keys and values to the head, then attends from each row. `ahead` is the
 * head whose turn comes next, or the same. */
void attention_int8(const struct kv_cache *cache, const struct kv_head *head,
                    const struct kv_head *ahead, const struct head_rows *rows, void *scratch);

/* Lists in runs[2 * (end - begin)] what attention will read of a layer's cache for the pairs
 * [begin, end) of a span and a head, in its order. */
struct fetch_list attention_int8_reads(const struct batch *batch, int layer, size_t begin,
                                       size_t end, struct fetch_run *runs);

/* Whether the pass of a layer can quantize its rows for out_proj. */
bool attention_int8_quantizes(const struct model *model, const struct batch *batch, int layer);
/* attention_stage() for a batch with an INT8 cache. */
void attention_int8_stage(struct pool *pool, int worker, const struct attention_pass *pass);

#endif
