#include "model/attention.h"

#include "model/attention_bf16.h"
#include "model/attention_head.h"
#include "model/attention_int8.h"
#include "model/blas.h"
#include "model/kernels/kernels.h"

#include <string.h>

size_t attention_scratch_floats(const struct model_config *config) {
    size_t floats = ATTENTION_BLOCK * (size_t)config->positions;
    size_t int8 = attention_int8_scratch_bytes(config) / sizeof(float); /* whole cache lines */
    size_t bf16 = attention_bf16_scratch_floats(config);                /* these too */
    floats = floats > int8 ? floats : int8;
    return floats > bf16 ? floats : bf16;
}

enum { FEW_ROWS = 4 }; /* below this a matrix product costs more than it saves */

/* Copies the head's new keys and values behind the earlier ones in the cache, and lets the head
 * read all of them there. */
static void append_to_cache(const struct kv_cache *cache, struct attention_head *h) {
    size_t d_model = (size_t)cache->d_model, column = (size_t)h->index * h->head_dim;
    float *keys = kv_cache_keys(cache, h->slot, h->layer) + column;
    float *values = kv_cache_values(cache, h->slot, h->layer) + column;
    for (int r = 0; r < h->rows; r++) {
        size_t place = (size_t)(h->first + r) * d_model;
        memcpy(keys + place, h->k + (size_t)r * h->kv_stride, h->head_dim * sizeof(float));
        memcpy(values + place, h->v + (size_t)r * h->kv_stride, h->head_dim * sizeof(float));
    }
    h->k = keys;
    h->v = values;
    h->kv_stride = d_model;
}

static void attend_rows(const struct attention_head *h, float *scores) {
    const struct kernels *k = kernels_get();
    for (int r = 0; r < h->rows; r++)
        h->logsumexp[r] = k->attend_row(h->out + (size_t)r * h->out_stride,
                                        h->q + (size_t)r * h->q_stride, h->k, h->v, h->kv_stride,
                                        attention_visible(h, r), h->head_dim, h->scale, scores);
}

static void attend_blocks(const struct attention_head *h, float *scores, size_t stride) {
    for (struct query_block b = {0}; attention_next_block(h, ATTENTION_BLOCK, &b);) {
        size_t rows = (size_t)b.rows;
        blas_gemm(false, true, rows, b.keys, h->head_dim, h->scale,
                  h->q + (size_t)b.begin * h->q_stride, h->q_stride, h->k, h->kv_stride, 0, scores,
                  stride);
        attention_softmax(h, &b, scores, stride);
        blas_gemm(false, false, rows, h->head_dim, b.keys, 1, scores, stride, h->v, h->kv_stride,
                  0, h->out + (size_t)b.begin * h->out_stride, h->out_stride);
    }
}

static void attend(const void *context, struct attention_head *h, float *scratch) {
    const struct attention_pass *pass = context;
    if (pass->batch->cache)
        append_to_cache(pass->batch->cache, h);
    if (h->rows < FEW_ROWS && h->dropout->rate <= 0 && h->causal)
        attend_rows(h, scratch);
    else
        attend_blocks(h, scratch, (size_t)pass->config->positions);
}

struct attention_pass attention_pass(const struct model *model,
                                     const struct activations *activations,
                                     const struct batch *batch, int layer) {
    return (struct attention_pass){
        .config = &model->config,
        .dtype = model->attention_dtype,
        .batch = batch,
        .layer = layer,
        .a = activations_layer(activations, layer),
        .logsumexp_stride = activations->max_rows,
        .scratch = activations->scores,
        .scratch_floats = activations->scores_floats,
        .quantized = attention_int8_quantizes(model, batch, layer) ? &activations->linear : NULL,
        .heads_done = activations->heads_done,
    };
}

void attention_stage(struct pool *pool, int worker, const struct attention_pass *pass) {
    const struct batch *batch = pass->batch;
    if (batch->cache && batch->cache->dtype == DTYPE_INT8)
        attention_int8_stage(pool, worker, pass);
    else if (pass->dtype == DTYPE_BF16 && attention_bf16_takes(batch))
        attention_bf16_stage(pool, worker, pass);
    else
        attention_each_head(pool, worker, pass, attend, pass);
}
