/* trainer.h - one training step over a batch of stories, and validation.
 *
 * A batch larger than `micro_rows` is worked off in micro-batches whose
 * gradients add up, so memory depends on micro_rows alone.
 * Ownership: the trainer owns its buffers, borrows model and pool. One thread
 * uses it at a time; nothing is allocated in a step.
 */
#ifndef ALPACA_TRAIN_TRAINER_H
#define ALPACA_TRAIN_TRAINER_H

#include "base/status.h"
#include "engine/forward.h"
#include "train/backward.h"
#include "train/dataset.h"
#include "train/loss.h"
#include "train/optimizer.h"

struct bf16_set;

struct trainer {
    struct model *model;
    struct pool *pool;
    struct bf16_set *bf16; /* the model's linears packed, or NULL in fp32 */
    struct optimizer optimizer;
    struct activations activations;
    struct backward_scratch backward;
    struct loss_scratch loss;
    float *gradients; /* [model_buffer_floats] */
    struct parameters bound_gradients;
    struct span *spans; /* [micro_rows] */
    int micro_rows;
    struct arena arena;
};

struct trainer_options {
    struct optimizer_options optimizer;
    enum numeric numeric; /* of the linear layers: F32, or BF16 where bf16_available() */
    int micro_rows;       /* at least the rows of the longest story */
};

/* While it lives, the model's linears run in the trainer's numeric form. */
enum status trainer_create(struct trainer *trainer, struct model *model, struct pool *pool,
                           const struct trainer_options *options, struct error *err);
void trainer_destroy(struct trainer *trainer);

/* What a checkpoint has to keep besides optimizer.steps: every buffer that a step changes and
 * the next one reads. */
enum { TRAINER_STATE_MAX = 8 };
struct state_buffer {
    const char *name;
    float *values;
    size_t count;
};
/* Fills state[TRAINER_STATE_MAX]; returns how many there are. */
int trainer_state(const struct trainer *trainer, struct state_buffer *state);
/* To be called after somebody else than trainer_step() wrote into the parameters. */
void trainer_refresh(struct trainer *trainer);

struct step_options {
    struct learning_rates rates;
    float clip;         /* gradient norm at most; 0: no clipping */
    float dropout;
    uint64_t dropout_key; /* another one for every step */
};

struct step_result {
    double loss;          /* mean nats per token of this batch */
    double gradient_norm; /* before clipping */
};

/* STATUS_INVALID when loss or gradient is NaN or infinite; the parameters are unchanged then. */
enum status trainer_step(struct trainer *trainer, const struct story_batch *batch,
                         const struct step_options *options, struct step_result *result,
                         struct error *err);

struct evaluation {
    double loss;          /* mean nats per token, every story's eos included */
    double bits_per_byte; /* of the text, see dataset.h */
    size_t tokens, stories;
};

/* The loss of `model` over a whole dataset, without dropout. */
enum status evaluate(const struct model *model, struct pool *pool, const struct dataset *dataset,
                     struct evaluation *evaluation, struct error *err);

#endif
