/* loss.h - mean cross-entropy over next tokens, and the head's gradients.
 *
 * Logits are made, used and thrown away a chunk of rows at a time, so that no
 * [rows, vocab] matrix is stored.
 * Ownership: the scratch owns its arena. Uses the pool: one caller at a time.
 */
#ifndef ALPACA_TRAIN_LOSS_H
#define ALPACA_TRAIN_LOSS_H

#include "base/arena.h"
#include "base/status.h"
#include "engine/forward.h"

struct loss_scratch {
    float *logits;      /* [LOSS_CHUNK, vocab] */
    double *row_losses; /* [LOSS_CHUNK] */
    struct arena arena;
};

enum { LOSS_CHUNK = 512 };

enum status loss_scratch_create(struct loss_scratch *scratch, const struct model_config *config,
                                struct error *err);
void loss_scratch_destroy(struct loss_scratch *scratch);

/* The sum of -log softmax(logits)[target] in nats over the rows of the last
 * forward(); rows with target -1 do not count. */
double loss_sum(const struct model *model, struct pool *pool, const struct activations *activations,
                const int32_t *targets, size_t rows, struct loss_scratch *scratch);

/* The same, and the gradients of `weight * that sum`: the head's are added to
 * `gradients`, the encoder output's is written to d_output[rows, d_model]. */
double loss_and_gradient(const struct model *model, struct pool *pool,
                         const struct activations *activations, const int32_t *targets,
                         size_t rows, float weight, struct loss_scratch *scratch,
                         struct parameters *gradients, float *d_output);

#endif
