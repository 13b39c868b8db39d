#include "train/attention_backward.h"

#include "base/pool.h"
#include "engine/attention_bf16.h"
#include "engine/blas.h"
#include "engine/dropout.h"
#include "engine/kernels/kernels.h"
#include "train/attention_backward_bf16.h"

#include <math.h>
#include <string.h>

struct task {
    const struct model_config *config;
    const struct batch *batch;
    int layer;
    const struct layer_activations *a;
    int log_sum_stride;
    const float *d_attention;
    float *scores; /* [workers, stride] */
    size_t scores_stride;
    float *d_qkv;
};

size_t attention_backward_floats(const struct model_config *config) {
    /* softmax, softmax after dropout, its gradient */
    size_t floats = (size_t)3 * ATTENTION_BLOCK * (size_t)config->positions;
    size_t narrow = attention_backward_bf16_floats(config);
    return floats > narrow ? floats : narrow;
}

/* One head of one sequence. q, k, v and their gradients have stride 3 d_model,
 * out and d_out d_model. */
struct head_view {
    const float *q, *k, *v, *out, *d_out;
    float *dq, *dk, *dv;
    const float *log_sums; /* [rows] */
    int head, row;         /* row of the batch where the sequence begins */
    size_t head_dim, d_model;
    float scale;
};

/* P, P after dropout, and its gradient for query rows begin..begin+count over `keys` keys;
 * on return `d_scores` holds the gradient of the scores q K^T. */
static void block_softmax(const struct task *t, const struct head_view *h, int begin, int count,
                          size_t keys, float *softmax, float *dropped, float *d_scores) {
    const struct kernels *k = kernels_get();
    const struct dropout *dropout = &t->batch->dropout;
    size_t stride = (size_t)t->config->positions, kv = 3 * h->d_model;
    blas_gemm(false, true, (size_t)count, keys, h->head_dim, h->scale,
              h->q + (size_t)begin * kv, kv, h->k, kv, 0, softmax, stride);
    blas_gemm(false, true, (size_t)count, keys, h->head_dim, 1,
              h->d_out + (size_t)begin * h->d_model, h->d_model, h->v, kv, 0, d_scores, stride);
    for (int i = 0; i < count; i++) {
        float *p = softmax + (size_t)i * stride, *pd = dropped + (size_t)i * stride;
        float *ds = d_scores + (size_t)i * stride;
        size_t row = (size_t)(begin + i), visible = row + 1;
        k->exp_minus(p, h->log_sums[row], visible);
        memset(p + visible, 0, (keys - visible) * sizeof(float));
        memcpy(pd, p, keys * sizeof(float));
        if (dropout->rate > 0) {
            uint32_t key = attention_dropout_key(dropout, t->layer, h->head, h->row + (int)row);
            k->dropout(pd, visible, key, dropout_threshold(dropout), dropout_scale(dropout));
            k->dropout(ds, visible, key, dropout_threshold(dropout), dropout_scale(dropout));
        }
        float total = k->dot(h->d_out + row * h->d_model, h->out + row * h->d_model, h->head_dim);
        for (size_t j = 0; j < keys; j++)
            ds[j] = p[j] * (ds[j] - total); /* 0 beyond `visible`, since p is */
    }
}

static void head_backward(const struct task *t, const struct head_view *h, int rows,
                          float *scores) {
    size_t stride = (size_t)t->config->positions, kv = 3 * h->d_model;
    float *softmax = scores, *dropped = softmax + ATTENTION_BLOCK * stride;
    float *d_scores = dropped + ATTENTION_BLOCK * stride;
    for (int r = 0; r < rows; r++) {
        memset(h->dk + (size_t)r * kv, 0, h->head_dim * sizeof(float));
        memset(h->dv + (size_t)r * kv, 0, h->head_dim * sizeof(float));
    }
    for (int begin = 0; begin < rows; begin += ATTENTION_BLOCK) {
        int count = rows - begin < ATTENTION_BLOCK ? rows - begin : ATTENTION_BLOCK;
        size_t keys = (size_t)(begin + count);
        block_softmax(t, h, begin, count, keys, softmax, dropped, d_scores);
        blas_gemm(true, false, keys, h->head_dim, (size_t)count, 1, dropped, stride,
                  h->d_out + (size_t)begin * h->d_model, h->d_model, 1, h->dv, kv);
        blas_gemm(false, false, (size_t)count, h->head_dim, keys, h->scale, d_scores, stride,
                  h->k, kv, 0, h->dq + (size_t)begin * kv, kv);
        blas_gemm(true, false, keys, h->head_dim, (size_t)count, h->scale, d_scores, stride,
                  h->q + (size_t)begin * kv, kv, 1, h->dk, kv);
    }
}

static struct head_view view_head(const struct task *t, int row, int head) {
    size_t d_model = (size_t)t->config->d_model, head_dim = d_model / (size_t)t->config->heads;
    size_t qkv = (size_t)row * 3 * d_model + (size_t)head * head_dim;
    size_t out = (size_t)row * d_model + (size_t)head * head_dim;
    return (struct head_view){
        .q = t->a->qkv + qkv,
        .k = t->a->qkv + qkv + d_model,
        .v = t->a->qkv + qkv + 2 * d_model,
        .out = t->a->attention + out,
        .d_out = t->d_attention + out,
        .dq = t->d_qkv + qkv,
        .dk = t->d_qkv + qkv + d_model,
        .dv = t->d_qkv + qkv + 2 * d_model,
        .log_sums = t->a->log_sums + (size_t)head * t->log_sum_stride + row,
        .head = head,
        .row = row,
        .head_dim = head_dim,
        .d_model = d_model,
        .scale = 1.0f / sqrtf((float)head_dim),
    };
}

static void worker_main(void *context, int worker, int workers) {
    const struct task *t = context;
    float *scores = t->scores + (size_t)worker * t->scores_stride;
    int row = 0, item = 0;
    for (int s = 0; s < t->batch->span_count; s++) {
        for (int head = 0; head < t->config->heads; head++, item++)
            if (item % workers == worker) {
                struct head_view view = view_head(t, row, head);
                head_backward(t, &view, t->batch->spans[s].rows, scores);
            }
        row += t->batch->spans[s].rows;
    }
}

void attention_backward(const struct model_config *config, enum numeric numeric,
                        struct pool *pool, const struct batch *batch, int layer,
                        const struct layer_activations *a, int log_sum_stride,
                        const float *d_attention, float *scores, float *d_qkv) {
    size_t stride = attention_backward_floats(config);
    if (numeric == NUMERIC_BF16 && attention_bf16_takes(batch)) {
        attention_backward_bf16(config, pool, batch, layer, a, log_sum_stride, d_attention, scores,
                                stride, d_qkv);
        return;
    }
    struct task task = {config,      batch,  layer,  a,    log_sum_stride,
                        d_attention, scores, stride, d_qkv};
    pool_run(pool, worker_main, &task);
}
