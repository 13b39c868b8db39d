/* second_head.h - a head for the token after next, in training only.
 *
 * It reads the encoder's output as the model's own head does, and its loss
 * makes the encoder look one token further ahead (Gloeckle et al., "Better &
 * faster large language models via multi-token prediction", 2024). The model
 * that is saved does not have it. It starts from zeros and is updated by Adam.
 *
 * Ownership: owns its arena. Uses the pool: one caller at a time.
 */
#ifndef ALPACA_TRAIN_GRAD_SECOND_HEAD_H
#define ALPACA_TRAIN_GRAD_SECOND_HEAD_H

#include "base/arena.h"
#include "base/status.h"
#include "model/model.h"
#include "train/optim/optimizer.h"

struct second_head {
    struct linear linear; /* points into values */
    /* [floats] each: the weight [vocab, d_model], then the bias [vocab] */
    float *values, *gradients, *moment1, *moment2;
    float *bias_gradients;
    size_t floats;
    struct arena arena;
};

enum status second_head_create(struct second_head *head, const struct model_config *config,
                               struct error *err);
void second_head_destroy(struct second_head *head); /* a zeroed one is allowed */

void second_head_step(struct second_head *head, const struct adam *adam, struct pool *pool);

#endif
