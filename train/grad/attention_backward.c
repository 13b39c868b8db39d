#include "train/grad/attention_backward.h"

#include "base/pool.h"
#include "model/attention_bf16.h"
#include "model/blas.h"
#include "train/grad/attention_backward_bf16.h"
#include "train/grad/attention_head_backward.h"

size_t attention_backward_floats(const struct model_config *config) {
    /* softmax, softmax after dropout, its gradient */
    size_t floats = (size_t)3 * ATTENTION_BLOCK * (size_t)config->positions;
    size_t bf16 = attention_backward_bf16_floats(config);
    return floats > bf16 ? floats : bf16;
}

/* The block's dq, and its part of dk and dv. */
static void block_backward(const struct attention_head *h, const struct head_gradient *g,
                           const struct query_block *b, const struct gradient_block *m) {
    size_t rows = (size_t)b->rows, begin = (size_t)b->begin;
    const float *q = h->q + begin * h->q_stride, *d_out = g->d_out + begin * h->out_stride;
    blas_gemm(false, true, rows, b->keys, h->head_dim, h->scale, q, h->q_stride, h->k,
              h->kv_stride, 0, m->softmax, m->stride);
    blas_gemm(false, true, rows, b->keys, h->head_dim, 1, d_out, h->out_stride, h->v,
              h->kv_stride, 0, m->d_scores, m->stride);
    head_gradient_softmax(h, g, b, m);
    blas_gemm(true, false, b->keys, h->head_dim, rows, 1, m->dropped, m->stride, d_out,
              h->out_stride, 1, g->dv, h->kv_stride);
    blas_gemm(false, false, rows, h->head_dim, b->keys, h->scale, m->d_scores, m->stride, h->k,
              h->kv_stride, 0, g->dq + begin * h->q_stride, h->q_stride);
    blas_gemm(true, false, b->keys, h->head_dim, rows, h->scale, m->d_scores, m->stride, q,
              h->q_stride, 1, g->dk, h->kv_stride);
}

static void head_backward(const void *context, struct attention_head *h, float *scratch) {
    const struct attention_gradient *gradient = context;
    struct head_gradient g = head_gradient_start(gradient, h);
    size_t stride = (size_t)gradient->pass.config->positions;
    struct gradient_block m = {.softmax = scratch,
                               .dropped = scratch + ATTENTION_BLOCK * stride,
                               .d_scores = scratch + 2 * ATTENTION_BLOCK * stride,
                               .stride = stride};
    for (struct query_block b = {0}; attention_next_block(h, ATTENTION_BLOCK, &b);)
        block_backward(h, &g, &b, &m);
}

static void walk(void *context, struct pool *pool, int worker) {
    const struct attention_gradient *gradient = context;
    const struct attention_pass *pass = &gradient->pass;
    if (pass->dtype == DTYPE_BF16 && attention_bf16_takes(pass->batch))
        attention_backward_bf16(pool, worker, gradient);
    else
        attention_each_head(pool, worker, pass, head_backward, gradient);
}

void attention_backward(struct pool *pool, struct attention_gradient gradient) {
    pool_walk(pool, walk, &gradient);
}
