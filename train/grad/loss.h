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
    float *logits;      /* [LOSS_CHUNK, vocab] */
    double *row_losses; /* [LOSS_CHUNK] */
    struct arena arena;
};

enum { LOSS_CHUNK = 512 };

enum status loss_scratch_create(struct loss_scratch *scratch, const struct model_config *config,
                                struct error *err);
void loss_scratch_destroy(struct loss_scratch *scratch);

struct second_head;
struct teacher;

/* What a recipe may add to the plain loss. */
struct loss_extras {
    /* Self-distillation: the target is a mix of the token, with 1 - teacher_weight, and the
     * teacher's prediction for it. NULL for none; it has run on the same batch. */
    struct teacher *teacher;
    float teacher_weight;
    /* A loss on the token after next, by a head of its own. NULL for none. */
    struct second_head *second;
    const int32_t *second_targets; /* [rows], -1 where there is none */
    float second_weight;
};

/* The sum of -log softmax(logits)[target] in nats over the rows of the last
 * forward(); rows with target -1 do not count. */
double loss_sum(const struct model *model, struct pool *pool, const struct activations *activations,
                const int32_t *targets, size_t rows, struct loss_scratch *scratch);

/* The same sum, of the plain loss alone, and the gradients of `weight` times it and the extras
 * (NULL for none): the head's are added to `gradients`, the encoder output's is written to
 * d_output[rows, d_model]. */
double loss_and_gradient(const struct model *model, struct pool *pool,
                         const struct activations *activations, const int32_t *targets,
                         size_t rows, float weight, const struct loss_extras *extras,
                         struct loss_scratch *scratch, struct parameters *gradients,
                         float *d_output);

#endif
