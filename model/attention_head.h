/* attention_head.h - one head over one span: what attention and its gradient work on.
 *
 * In every dtype, forward and backward take the (span, head) pairs of a layer one by one,
 * and each pair's queries a block of rows at a time. Where a head's rows lie, what its queries
 * see of the keys and which dropout mask is theirs is said here once. The letters are those of
 * Dao et al., "FlashAttention", 2022:
 *     S = scale Q K^T    P = dropout(softmax(S))    O = P V
 * Ownership: a head points into the pass's activations or cache and owns nothing.
 * Thread-safety: attention_each_head() is called by every thread of a walk; a head is used by
 * the worker that got it alone.
 */
#ifndef ALPACA_MODEL_ATTENTION_HEAD_H
#define ALPACA_MODEL_ATTENTION_HEAD_H

#include "model/attention.h"

struct attention_head {
    int layer, index; /* of the head in its layer */
    size_t head_dim;
    float scale;           /* 1 / sqrt(head_dim) */
    const float *q;        /* [rows, head_dim] */
    const float *k, *v;    /* [rows, head_dim]; in a cache [first + rows, head_dim] */
    float *out;            /* [rows, head_dim] */
    size_t q_stride, kv_stride, out_stride; /* floats from one row to the next */
    float *logsumexp;                       /* [rows] log-sum-exp of each row of S */
    int row, rows;         /* of the batch: the first, and how many */
    int slot;              /* of the cache, when there is one */
    int first;             /* position of the first query; 0 without a cache */
    bool causal;           /* a query sees the keys up to its own position, else all */
    const struct dropout *dropout; /* of P */
};

/* What a worker does with a head; it may change the head, and `scratch` is its own. */
typedef void attention_work(const void *context, struct attention_head *head, float *scratch);

/* A stage: every (span, head) pair of the pass, each worked off by one worker. q, k and v are the
 * span's rows of qkv, also where the earlier keys and values lie in a cache. */
void attention_each_head(struct pool *pool, int worker, const struct attention_pass *pass,
                         attention_work *work, const void *context);

/* ---- a block of queries --------------------------------------------------- */

/* Query rows begin .. begin + rows of a head, which see no key from `keys` on. */
struct query_block {
    int begin, rows;
    size_t keys;
};

/* The block after `block`, {0} before the first; false after the last. */
bool attention_next_block(const struct attention_head *head, int max_rows,
                          struct query_block *block);

/* Keys that a row of the head sees. */
static inline size_t attention_visible(const struct attention_head *head, int row) {
    return (size_t)(head->first + (head->causal ? row + 1 : head->rows));
}

/* Drops elements of what one row of the head has for the keys it sees: P, or its gradient. */
void attention_drop(const struct attention_head *head, int row, float *values);

/* From S to P, with 0 for keys that a row does not see; fills the rows' logsumexp.
 * scores: [block->rows, block->keys], `stride` floats from one row to the next. */
void attention_softmax(const struct attention_head *head, const struct query_block *block,
                       float *scores, size_t stride);

#endif
