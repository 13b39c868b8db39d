#include "engine/attention.h"

#include "base/pool.h"
#include "engine/attention_bf16.h"
#include "engine/attention_int8.h"
#include "engine/blas.h"
#include "engine/dropout.h"
#include "engine/kernels/kernels.h"

#include <math.h>
#include <string.h>

struct task {
    const struct model_config *config;
    const struct batch *batch;
    int layer;
    const struct layer_activations *a;
    int log_sum_stride;
    float *scratch; /* [workers, scratch_floats] */
    size_t scratch_floats;
};

/* One head of one span: where its rows lie and at which stride. */
struct head_view {
    const float *q, *k, *v;
    size_t q_stride, kv_stride; /* floats from one position to the next */
    int first, rows;            /* position of the first query; number of queries */
};

size_t attention_scratch_floats(const struct model_config *config) {
    size_t floats = ATTENTION_BLOCK * (size_t)config->positions;
    size_t int8 = attention_int8_scratch_bytes(config) / sizeof(float); /* whole cache lines */
    size_t bf16 = attention_bf16_scratch_floats(config);                /* these too */
    floats = floats > int8 ? floats : int8;
    return floats > bf16 ? floats : bf16;
}

enum { FEW_ROWS = 4 }; /* below this a matrix product costs more than it saves */

uint32_t attention_dropout_key(const struct dropout *dropout, int layer, int head, int row) {
    return dropout_row_key(dropout, layer, DROPOUT_ATTENTION + head, row);
}

/* Copies the head's new keys and values behind the earlier ones in the cache. */
static void append_to_cache(const struct task *t, const struct span *span, const float *qkv,
                            int head, struct head_view *view) {
    size_t d_model = (size_t)t->config->d_model, head_dim = d_model / (size_t)t->config->heads;
    float *keys = kv_cache_keys(t->batch->cache, span->slot, t->layer) + (size_t)head * head_dim;
    float *values =
        kv_cache_values(t->batch->cache, span->slot, t->layer) + (size_t)head * head_dim;
    for (int r = 0; r < span->rows; r++) {
        const float *row = qkv + (size_t)r * 3 * d_model + (size_t)head * head_dim;
        size_t place = (size_t)(span->first + r) * d_model;
        memcpy(keys + place, row + d_model, head_dim * sizeof(float));
        memcpy(values + place, row + 2 * d_model, head_dim * sizeof(float));
    }
    view->k = keys;
    view->v = values;
    view->kv_stride = d_model;
}

static void attend_rows(const struct task *t, const struct head_view *v, int head, size_t head_dim,
                        float scale, int row, float *scores, float *out) {
    const struct kernels *k = kernels_get();
    for (int r = 0; r < v->rows; r++) {
        float *log_sum = t->a->log_sums + (size_t)head * t->log_sum_stride + row + r;
        *log_sum = k->attend_row(out + (size_t)r * t->config->d_model,
                                 v->q + (size_t)r * v->q_stride, v->k, v->v, v->kv_stride,
                                 (size_t)(v->first + r + 1), head_dim, scale, scores);
    }
}

static void attend_blocks(const struct task *t, const struct head_view *v, int head,
                          size_t head_dim, float scale, int row, float *scores, float *out) {
    const struct kernels *k = kernels_get();
    const struct dropout *dropout = &t->batch->dropout;
    size_t d_model = (size_t)t->config->d_model, stride = (size_t)t->config->positions;
    for (int begin = 0; begin < v->rows; begin += ATTENTION_BLOCK) {
        int count = v->rows - begin < ATTENTION_BLOCK ? v->rows - begin : ATTENTION_BLOCK;
        bool unmasked = t->batch->unmasked;
        size_t all = (size_t)(v->first + v->rows);
        size_t keys = unmasked ? all : (size_t)(v->first + begin + count); /* of the last row */
        blas_gemm(false, true, (size_t)count, keys, head_dim, scale,
                  v->q + (size_t)begin * v->q_stride, v->q_stride, v->k, v->kv_stride, 0, scores,
                  stride);
        for (int i = 0; i < count; i++) {
            float *s = scores + (size_t)i * stride;
            size_t visible = unmasked ? all : (size_t)(v->first + begin + i + 1);
            t->a->log_sums[(size_t)head * t->log_sum_stride + row + begin + i] =
                k->softmax(s, visible);
            memset(s + visible, 0, (keys - visible) * sizeof(float));
            if (dropout->rate > 0)
                k->dropout(s, visible,
                           attention_dropout_key(dropout, t->layer, head, row + begin + i),
                           dropout_threshold(dropout), dropout_scale(dropout));
        }
        blas_gemm(false, false, (size_t)count, head_dim, keys, 1, scores, stride, v->v,
                  v->kv_stride, 0, out + (size_t)begin * d_model, d_model);
    }
}

static void attend(const struct task *t, int span_index, int row, int head, float *scores) {
    const struct span *span = &t->batch->spans[span_index];
    size_t d_model = (size_t)t->config->d_model, head_dim = d_model / (size_t)t->config->heads;
    const float *qkv = t->a->qkv + (size_t)row * 3 * d_model;
    const float *q = qkv + (size_t)head * head_dim;
    struct head_view view = {.q = q,
                             .k = q + d_model,
                             .v = q + 2 * d_model,
                             .q_stride = 3 * d_model,
                             .kv_stride = 3 * d_model,
                             .first = 0,
                             .rows = span->rows};
    float *out = t->a->attention + (size_t)row * d_model + (size_t)head * head_dim;
    if (t->batch->cache) {
        view.first = span->first;
        append_to_cache(t, span, qkv, head, &view);
    }
    float scale = 1.0f / sqrtf((float)head_dim);
    if (span->rows < FEW_ROWS && t->batch->dropout.rate <= 0 && !t->batch->unmasked)
        attend_rows(t, &view, head, head_dim, scale, row, scores, out);
    else
        attend_blocks(t, &view, head, head_dim, scale, row, scores, out);
}

/* The (span, head) pairs are dealt out in turn, so that long spans spread evenly. */
static void attend_all(void *context, int worker, int workers) {
    const struct task *t = context;
    float *scores = t->scratch + (size_t)worker * t->scratch_floats;
    int row = 0, item = 0;
    for (int s = 0; s < t->batch->span_count; s++) {
        for (int head = 0; head < t->config->heads; head++, item++)
            if (item % workers == worker)
                attend(t, s, row, head, scores);
        row += t->batch->spans[s].rows;
    }
}

void attention_forward(const struct model_config *config, struct pool *pool,
                       const struct batch *batch, int layer, const struct layer_activations *a,
                       int log_sum_stride, float *scratch) {
    struct task task = {config, batch,   layer,
                        a,      log_sum_stride, scratch, attention_scratch_floats(config)};
    if (batch->cache && batch->cache->form == KV_INT8)
        attention_int8_forward(pool, batch, layer, a, scratch, task.scratch_floats);
    else
        pool_run(pool, attend_all, &task);
}
