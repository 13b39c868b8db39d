/* loss.h - mean cross-entropy over next tokens, and the head's gradients.
 *
 * Logits are made, used and thrown away a chunk of rows at a time, so that no
 * [rows, vocab] matrix is stored.
 * Ownership: the scratch owns its arena. Uses the pool: one caller at a time.
 */
#ifndef ALPACA_TRAIN_GRAD_LOSS_H
#define ALPACA_TRAIN_GRAD_LOSS_H

#include "base/arena.h"
#include "base/status.h"
#include "model/forward.h"

struct loss_scratch {
    size_t vocab;
    float *logits;      /* [LOSS_CHUNK, vocab] */
    double *row_losses; /* [LOSS_CHUNK] */
    struct arena arena;
};

enum { LOSS_CHUNK = 512 };

/* STATUS_NO_MEMORY is all that can go wrong. */
enum status loss_scratch_create(struct loss_scratch *scratch, const struct model_config *config,
                                struct error *err);
void loss_scratch_destroy(struct loss_scratch *scratch);

struct teacher;

/* Distillation: the target is a mix of the token, with the share 1 - weight, and the teacher's
 * prediction for it. The teacher has run on the same batch. */
struct distillation {
    struct teacher *teacher; /* NULL: the token alone is the target */
    float weight;
};

/* What the rows of a batch are to predict. */
struct loss_targets {
    const int32_t *ids; /* [rows]; a row with -1 does not count */
    size_t rows;
    float weight; /* what each row's loss is multiplied by before its gradient is taken */
    struct distillation distillation; /* for the gradient; the loss is the tokens' alone */
};

/* The sum of -log softmax(logits)[target] in nats over the rows of the last forward(). */
double loss_sum(const struct forward_context *context, const struct loss_targets *targets,
                struct loss_scratch *scratch);

/* The same sum, and the gradients of `weight` times the loss against the distilled targets: the
 * head's are added to `gradients`, the encoder output's is written to d_output[rows, d_model]. */
double loss_and_gradient(const struct forward_context *context, const struct loss_targets *targets,
                         struct loss_scratch *scratch, struct parameters *gradients,
                         float *d_output);

#endif
