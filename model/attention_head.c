#include "model/attention_head.h"

#include "base/pool.h"
#include "model/kernels/dropout.h"
#include "model/kernels/kernels.h"

#include <math.h>
#include <string.h>

static struct attention_head head_at(const struct attention_pass *pass, const struct span *span,
                                     int row, int index) {
    const struct batch *batch = pass->batch;
    size_t d_model = (size_t)pass->config->d_model;
    size_t head_dim = d_model / (size_t)pass->config->heads, column = (size_t)index * head_dim;
    const float *q = pass->a->qkv + (size_t)row * 3 * d_model + column;
    return (struct attention_head){
        .index = index,
        .head_dim = head_dim,
        .scale = 1.0f / sqrtf((float)head_dim),
        .q = q,
        .k = q + d_model,
        .v = q + 2 * d_model,
        .out = pass->a->attention + (size_t)row * d_model + column,
        .q_stride = 3 * d_model,
        .kv_stride = 3 * d_model,
        .out_stride = d_model,
        .logsumexp = pass->a->logsumexp + (size_t)index * (size_t)pass->logsumexp_stride + row,
        .row = row,
        .rows = span->rows,
        .first = batch->cache ? span->first : 0,
        .causal = !batch->unmasked,
        .layer = pass->layer,
        .slot = span->slot,
        .dropout = &batch->dropout,
    };
}

struct task {
    const struct attention_pass *pass;
    attention_work *work;
    const void *context;
};

/* The pairs are dealt out in turn, so that long spans spread evenly. */
static void work_off(void *context, int worker, int workers) {
    const struct task *t = context;
    const struct batch *batch = t->pass->batch;
    float *scratch = t->pass->scratch + (size_t)worker * t->pass->scratch_floats;
    int row = 0, item = 0;
    for (int s = 0; s < batch->span_count; s++) {
        for (int index = 0; index < t->pass->config->heads; index++, item++)
            if (item % workers == worker) {
                struct attention_head head = head_at(t->pass, &batch->spans[s], row, index);
                t->work(t->context, &head, scratch);
            }
        row += batch->spans[s].rows;
    }
}

void attention_each_head(struct pool *pool, int worker, const struct attention_pass *pass,
                         attention_work *work, const void *context) {
    struct task task = {pass, work, context};
    pool_stage(pool, worker, work_off, &task);
}

/* ---- a block of queries --------------------------------------------------- */

bool attention_next_block(const struct attention_head *h, int max_rows,
                          struct query_block *block) {
    int begin = block->begin + block->rows, left = h->rows - begin;
    if (left <= 0)
        return false;
    int rows = left < max_rows ? left : max_rows;
    *block = (struct query_block){begin, rows, attention_visible(h, begin + rows - 1)};
    return true;
}

void attention_drop(const struct attention_head *h, int row, float *values) {
    float rate = h->dropout->rate;
    if (rate > 0)
        kernels_get()->dropout(values, attention_visible(h, row),
                               dropout_row_key(h->dropout, h->layer, DROPOUT_ATTENTION + h->index,
                                               h->row + row),
                               dropout_threshold(rate), dropout_scale(rate));
}

void attention_softmax(const struct attention_head *h, const struct query_block *block,
                       float *scores, size_t stride) {
    const struct kernels *k = kernels_get();
    for (int i = 0; i < block->rows; i++) {
        float *s = scores + (size_t)i * stride;
        int row = block->begin + i;
        size_t visible = attention_visible(h, row);
        h->logsumexp[row] = k->softmax(s, visible);
        memset(s + visible, 0, (block->keys - visible) * sizeof(float));
        attention_drop(h, row, s);
    }
}
