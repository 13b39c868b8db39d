/* attention_head_backward.h - what attention's backward does for one head, whatever the dtype.
 *
 * A head's gradients lie as the head does (model/attention_head.h, whose letters are used
 * here), a block of queries at a time:
 *     dV += P^T dO     dP = dO V^T     dS = softmax(S) (dropout(dP) - dO . O)
 *     dQ = scale dS K  dK += scale dS^T Q
 * The products are each dtype's own; the rest is here. softmax(S) is computed again from the
 * stored logsumexp, and sum_j(P dP) is taken as dO . O (Dao et al., "FlashAttention", 2022,
 * appendix B). Thread-safe: each call works on one head.
 */
#ifndef ALPACA_TRAIN_GRAD_ATTENTION_HEAD_BACKWARD_H
#define ALPACA_TRAIN_GRAD_ATTENTION_HEAD_BACKWARD_H

#include "model/attention_head.h"

/* The gradient of a forward pass over whole sequences; the pass has attention_backward_floats()
 * of scratch for each worker. */
struct attention_gradient {
    struct attention_pass pass;
    const float *d_attention; /* [rows, d_model] in: gradient of pass.a->attention */
    float *d_qkv;             /* [rows, 3 d_model] out: gradient of pass.a->qkv */
};

struct head_gradient {
    const float *d_out;   /* [rows, head_dim], the head's out_stride apart */
    float *dq, *dk, *dv;  /* [rows, head_dim], its q_stride and kv_stride apart */
};

/* Where a head's gradients lie; dk and dv are set to 0, to be added to block by block. */
struct head_gradient head_gradient_start(const struct attention_gradient *gradient,
                                         const struct attention_head *head);

/* The three matrices of a block: [block->rows, block->keys], `stride` floats from row to row. */
struct gradient_block {
    float *softmax;  /* S scaled -> softmax(S) */
    float *dropped;  /* out: P */
    float *d_scores; /* dP -> dS */
    size_t stride;
};

/* From S and dP to softmax(S), P and dS, all 0 for the keys that a row does not see. */
void head_gradient_softmax(const struct attention_head *head, const struct head_gradient *gradient,
                           const struct query_block *block, const struct gradient_block *matrices);

#endif
