/* backward.h - the gradient of forward(), one function per forward operation.
 *
 * Gradients are a parameter buffer of the model's own layout, added to, so
 * that several micro-batches make one step. Every sum has a fixed order for a
 * given number of workers: the same run gives the same bits.
 *
 * Ownership: the scratch owns its arena. One thread uses it at a time;
 * nothing is allocated in backward().
 */
#ifndef ALPACA_TRAIN_GRAD_BACKWARD_H
#define ALPACA_TRAIN_GRAD_BACKWARD_H

#include "base/arena.h"
#include "base/status.h"
#include "model/forward.h"

struct backward_scratch {
    struct model_config config;
    int max_rows, workers;
    float *d_output;    /* [rows, d_model] in: gradient of the encoder's output */
    float *d_middle;    /* [rows, d_model] gradient of `middle`, then of the layer's input */
    float *d_branch;    /* [rows, d_model] gradient inside a residual branch */
    float *d_attention; /* [rows, d_model] */
    float *d_qkv;       /* [rows, 3 d_model] */
    float *d_hidden;    /* [rows, d_ff] */
    float *norm_sums;   /* [workers, 2, d_model] weight and bias gradients of a norm */
    float *scores;      /* [workers, scores_floats] scratch of attention */
    size_t scores_floats;
    struct arena arena;
};

/* For batches of at most max_rows rows on a pool of `workers`; STATUS_NO_MEMORY is all that can go
 * wrong. */
enum status backward_scratch_create(struct backward_scratch *scratch,
                                    const struct model_config *config, int max_rows, int workers,
                                    struct error *err);
void backward_scratch_destroy(struct backward_scratch *scratch);

/* Adds the gradients of every parameter but the head's (loss.h does those) for
 * the batch that forward() has just run in this context; the batch has no cache.
 * Expects scratch->d_output and overwrites it. */
void backward(const struct forward_context *context, const struct batch *batch,
              struct backward_scratch *scratch, struct parameters *gradients);

#endif
