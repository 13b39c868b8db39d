/* network.h - forward() and backward() (model/forward.h, train/grad/backward.h) on the card.
 *
 * What products read and write is of the network's dtype; residuals, norms, the gradient that runs
 * down the residuals, and all sums are fp32.
 * Ownership: a network owns its memory and borrows products and timer. One thread.
 */
#ifndef ALPACA_TRAIN_CUDA_NETWORK_H
#define ALPACA_TRAIN_CUDA_NETWORK_H

#include "train/cuda/card_batch.h"
#include "train/cuda/products.h"

extern "C" {
#include "model/model.h"
}

/* What backward reads of a layer; void *: of the dtype. */
struct card_layer {
    void *x;         /* [rows, d_model] what the layer got */
    void *qkv;       /* [rows, 3 d_model] */
    void *attention; /* [rows, d_model] */
    void *middle;    /* [rows, d_model] after norm1 */
    void *hidden;    /* [rows, d_ff] after ReLU and dropout */
    float *logsumexp;              /* [heads, max_rows] */
    float *residual1, *residual2;  /* [rows, d_model] before the norms; NULL where not kept */
    float *stats1, *stats2;        /* [rows, 2] of the norms: mean, rstd */
};

struct network_options {
    const struct model_config *config;
    enum dtype dtype;
    int max_rows;
    bool keeps_layers; /* for backward; else each layer overwrites the last */
    struct products *products;
    struct part_timer *timer;
};

struct network {
    struct network_options options;
    struct model_config config;
    float *parameters;    /* [model_buffer_floats] */
    bf16 *rounded;        /* the same as BF16; NULL in F32 */
    struct parameters at; /* in `parameters` */
    float *position_table; /* [positions, d_model] */
    float *carry;          /* [rows, d_model] what a layer got, or gave last */
    void *branch;          /* [rows, d_model] what a sublayer gave */
    void *output;          /* [rows, d_model] the encoder's */
    struct card_layer layers[MODEL_MAX_LAYERS];
    struct arena arena;
};

enum status network_create(struct network *network, const struct network_options *options,
                           struct error *err);
void network_destroy(struct network *network);

/* To be called when `parameters` has got other values, or is another buffer. */
enum status network_refresh(struct network *network, struct error *err);

enum status network_forward(struct network *network, const struct card_batch *batch,
                            struct error *err);
/* logits[count, vocab] of rows first .. first + count - 1, in fp32. */
enum status network_logits(struct network *network, int first, int count, float *logits,
                           struct error *err);

/* Scratch of backward, and the gradients, which are added to. */
struct network_gradient {
    float *gradients;     /* [model_buffer_floats] */
    struct parameters at; /* in `gradients` */
    float *dx;            /* [rows, d_model] in: the gradient of the output */
    void *d_branch, *d_attention, *d_qkv, *d_hidden; /* of the dtype */
    float *delta; /* [heads, max_rows] */
    float *parts; /* partial sums over rows */
};
void network_gradient_layout(struct network_gradient *gradient,
                             const struct network_options *options, struct arena *arena);

/* Of rows first .. first + count - 1: adds the head's gradients and writes theirs of dx, from those
 * of the logits, [count, vocab] of the dtype. */
enum status network_head_backward(struct network *network, struct network_gradient *gradient,
                                  int first, int count, void *d_logits, struct error *err);
/* The rest, from dx. */
enum status network_backward(struct network *network, const struct card_batch *batch,
                             struct network_gradient *gradient, struct error *err);

#endif
