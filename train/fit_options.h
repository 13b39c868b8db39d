/* fit_options.h - the settings of a training run: one table, presets, checks.
 *
 * Ownership: texts belong to argv, the environment or the table. Thread-safe as
 * long as nobody changes the environment.
 */
#ifndef ALPACA_TRAIN_FIT_OPTIONS_H
#define ALPACA_TRAIN_FIT_OPTIONS_H

#include "base/buffer.h"
#include "base/file.h"
#include "base/flags.h"
#include "model/model.h"
#include "train/optim/schedule.h"
#include "train/trainer.h"

#include <stdbool.h>
#include <stdint.h>

struct fit_options {
    /* what to read and write */
    const char *preset, *train, *mix, *valid, *tokenizer, *out, *run, *saved_dtype;
    /* the recipe */
    const char *device; /* NULL: the CPU; no flag sets it in builds without a device */
    const char *optimizer, *dtype, *shape, *average, *teacher, *start;
    double rate, others_rate, clip, weight_decay, dropout, random_crop;
    double warmup, final_rate, epochs, average_decay, average_from, teacher_weight;
    uint64_t steps, seed;
    int layers, batch_stories, batch_tokens;
    /* How it is run. Micro-batches of another size and another number of threads round sums
     * differently; the others leave the weights as they are. */
    int micro_tokens, threads, log_every, valid_every, checkpoint_seconds;
    bool fresh;
};

extern const struct flag_table fit_flags;

/* A parsed and completed run. */
struct fit_plan {
    struct model_config config;
    struct trainer_options trainer;
    enum schedule_shape shape;
    bool float32; /* the model is written as F32, else BF16 */
    bool measure; /* trainer.dtype is still to be chosen (train/dtype_trial.h) */
    struct mix {  /* other stories, mixed in at the beginning */
        char path[FILE_PATH_BYTES]; /* "": none */
        double share;               /* of each step's tokens */
        double until;               /* share of all steps after which none are mixed in */
    } mix;
};

/* Completes what the flags left to the preset and checks what one flag alone
 * cannot be checked for. The text fields keep pointing at argv or the table. */
enum status fit_options_complete(struct fit_options *options, struct fit_plan *plan,
                                 struct error *err);

/* What else shapes the weights: hashes of the training stories, of the weights before the first
 * step, and of the stories mixed in and the teacher's weights (0 without). */
struct fit_inputs {
    uint64_t data, mix, start, teacher;
    uint64_t steps;
};

/* Every setting that shapes the weights, as text: a checkpoint of another recipe is refused. */
void fit_recipe(const struct fit_options *options, const struct fit_plan *plan,
                const struct fit_inputs *inputs, struct buffer *recipe);
/* Every setting that only shapes how sums are rounded, likewise: another is noted, not refused. */
void fit_how(const struct fit_options *options, int workers, struct buffer *how);

#endif
