#include "train/grad/attention_head_backward.h"

#include "model/kernels/kernels.h"

#include <string.h>

struct head_gradient head_gradient_start(const struct attention_gradient *gradient,
                                         const struct attention_head *h) {
    const struct layer_activations *a = gradient->pass.a;
    struct head_gradient g = {.d_out = gradient->d_attention + (h->out - a->attention),
                              .dq = gradient->d_qkv + (h->q - a->qkv),
                              .dk = gradient->d_qkv + (h->k - a->qkv),
                              .dv = gradient->d_qkv + (h->v - a->qkv)};
    for (size_t r = 0; r < (size_t)h->rows; r++) {
        memset(g.dk + r * h->kv_stride, 0, h->head_dim * sizeof(float));
        memset(g.dv + r * h->kv_stride, 0, h->head_dim * sizeof(float));
    }
    return g;
}

void head_gradient_softmax(const struct attention_head *h, const struct head_gradient *g,
                           const struct query_block *block, const struct gradient_block *m) {
    const struct kernels *k = kernels_get();
    for (int i = 0; i < block->rows; i++) {
        float *softmax = m->softmax + (size_t)i * m->stride;
        float *dropped = m->dropped + (size_t)i * m->stride;
        float *ds = m->d_scores + (size_t)i * m->stride;
        int row = block->begin + i;
        size_t visible = attention_visible(h, row), out = (size_t)row * h->out_stride;
        k->exp_minus(softmax, h->logsumexp[row], visible);
        memset(softmax + visible, 0, (block->keys - visible) * sizeof(float));
        memcpy(dropped, softmax, block->keys * sizeof(float));
        attention_drop(h, row, dropped);
        attention_drop(h, row, ds);
        float total = k->dot(g->d_out + out, h->out + out, h->head_dim);
        for (size_t j = 0; j < block->keys; j++)
            ds[j] = softmax[j] * (ds[j] - total); /* 0 beyond `visible`, since softmax is */
    }
}
