/* trainer.h - one training step over a batch of stories.
 *
 * A batch larger than `micro_rows` is worked off in micro-batches whose
 * gradients add up, so memory depends on micro_rows alone, and results do not
 * depend on it but for the rounding of those sums. Of several ranks (train/ranks.h)
 * each takes its share of the stories, and all take the same step with the sum.
 * Ownership: the trainer owns its buffers, borrows model and pool, and stays
 * where it was created. One thread uses it at a time; nothing is allocated in
 * a step.
 */
#ifndef ALPACA_TRAIN_TRAINER_H
#define ALPACA_TRAIN_TRAINER_H

#include "base/status.h"
#include "model/forward.h"
#include "model/pack_weights.h"
#include "train/data/dataset.h"
#include "train/device.h"
#include "train/grad/backward.h"
#include "train/grad/loss.h"
#include "train/optim/optimizer.h"

struct trainer_options {
    struct optimizer_options optimizer;
    enum dtype dtype;     /* of the linear layers: F32, or where bf16_available() BF16 or INT8
                           * (model/pack_weights.h); muon's products are BF16 with both */
    int micro_rows;       /* at least the rows of the longest story */
    bool average;         /* keep a running average of the weights (weight_average.h) */
    const struct device_kind *device; /* what computes; NULL: the CPU */
};

struct trainer {
    struct trainer_options options;
    struct model *model;
    struct pool *pool;
    struct device *device; /* NULL: the CPU, by all that follows */
    struct packed_weights *packed; /* NULL in F32 */
    struct optimizer optimizer;
    struct activations activations;
    struct backward_scratch backward;
    struct loss_scratch loss;
    float *gradients; /* [model_buffer_floats], of all ranks together */
    float *average;   /* [model_buffer_floats], or NULL */
    struct parameters bound_gradients;
    /* Of the micro-batch, [micro_rows] each: */
    struct span *spans;
    struct dropout_row *rows; /* where in the step they are */
    int32_t *ids, *targets;
    size_t *loads;    /* [ranks_count()] for the share */
    size_t *bounds;   /* [ranks_count() + 1] of muon's matrices */
    float *exchanged; /* [ranks_sum_floats] while gradients are summed over ranks, or NULL */
    struct arena arena;
};

/* While it lives, the model's linears run in the trainer's dtype. */
enum status trainer_create(struct trainer *trainer, struct model *model, struct pool *pool,
                           const struct trainer_options *options, struct error *err);
void trainer_destroy(struct trainer *trainer);

/* What a checkpoint has to keep besides optimizer.steps: every buffer that a step changes and
 * the next one reads. */
enum { TRAINER_STATE_MAX = 4 };
struct state_buffer {
    const char *name;
    float *values;
    size_t count;
};
/* Fills state[TRAINER_STATE_MAX]; returns how many there are. */
int trainer_state(const struct trainer *trainer, struct state_buffer *state);
/* To be called after somebody else than trainer_step() wrote into those buffers. */
enum status trainer_refresh(struct trainer *trainer, struct error *err);
/* Brings the newest state into those buffers; a device keeps it elsewhere. */
enum status trainer_fetch(const struct trainer *trainer, struct error *err);
/* Brings only the parameters, into the model. */
enum status trainer_fetch_weights(const struct trainer *trainer, struct error *err);
/* To be called before steps with this teacher; it stays the caller's. */
enum status trainer_set_teacher(struct trainer *trainer, const struct teacher *teacher,
                                struct error *err);
/* Exchanges the weights and their average: the model is the average until the next call. */
void trainer_swap_average(struct trainer *trainer);

struct step_options {
    struct learning_rates rates;
    float clip; /* gradient norm at most; 0: no clipping */
    float dropout;
    uint64_t dropout_key; /* another one for every step */
    float average_share;  /* of the new weights in the average (weight_average.h) */
    struct distillation distillation;
    /* Called after every micro-batch with the rows of the batch that are done, by all ranks if the
     * others are as far as this one; or NULL. */
    void (*on_rows)(void *context, size_t rows);
    void *context;
};

struct step_result {
    double loss;          /* mean nats per token of this batch, against the tokens alone */
    double gradient_norm; /* before clipping */
};

/* The part of a step that takes the time: t->gradients become those of this rank's share of the
 * batch, and its part of the mean loss is returned. */
double trainer_gradients(struct trainer *trainer, const struct story_batch *batch,
                         const struct step_options *options);
/* The whole batch of the step, at every rank. STATUS_INVALID when loss or gradient is NaN or
 * infinite, naming the first tensor that is; the parameters are unchanged then. */
enum status trainer_step(struct trainer *trainer, const struct story_batch *batch,
                         const struct step_options *options, struct step_result *result,
                         struct error *err);

#endif
