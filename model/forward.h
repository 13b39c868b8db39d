/* forward.h - the only forward pass, for training and serving alike.
 *
 * Row i of a span (batch.h) attends to all earlier positions of its sequence
 * and to itself (the causal mask), never to another span's.
 *
 * Ownership: everything is the caller's. Thread-safety: one call at a time per
 * pool, activations and cache; the model is only read. Nothing is allocated and nothing can fail.
 */
#ifndef ALPACA_MODEL_FORWARD_H
#define ALPACA_MODEL_FORWARD_H

#include "model/activations.h"
#include "model/batch.h"
#include "model/model.h"

struct pool;

/* What a forward pass, its loss and its backward pass always need: the model, the threads they
 * run on, and where the results between the layers lie. It owns none of them. */
struct forward_context {
    const struct model *model;
    struct pool *pool;
    struct activations *activations;
};

/* Runs the encoder over the batch. Its output, [rows, d_model], is
 * activations_output(). */
void forward(const struct forward_context *context, const struct batch *batch);

/* The same as forward() and forward_logits(), below, but in one walk of the threads, and of the
 * output only what the logits need is computed: activations_output() is not there afterwards. For
 * activations that do not keep the layers; count may be 0. */
void forward_to_logits(const struct forward_context *context, const struct batch *batch,
                       const int *rows, int count, float *logits);

/* logits[count, vocab] of rows[count] of the last forward(). */
void forward_logits(const struct forward_context *context, const int *rows, int count,
                    float *logits);
/* The same of the rows first .. first + count - 1. */
void forward_logits_range(const struct forward_context *context, int first, int count,
                          float *logits);

#endif
