/* checkpoint.h - everything a run needs to go on, in one file.
 *
 * A safetensors file: the trainer's state buffers as flat F32 tensors, and the
 * counters as metadata. It is replaced in one step, so a crash or a full disk
 * at any moment leaves the previous one whole. A checkpoint of a run with another
 * identity is refused, and the error names what differs.
 * Ownership: the trainer, the progress and all texts stay the caller's. One thread at a time for
 * one trainer or path.
 */
#ifndef ALPACA_TRAIN_CHECKPOINT_H
#define ALPACA_TRAIN_CHECKPOINT_H

#include "base/buffer.h"
#include "base/status.h"
#include "train/data/dataset.h"
#include "train/trainer.h"

#include <stdint.h>

struct progress {
    uint64_t step;              /* steps done */
    uint64_t tokens;            /* training rows seen */
    double seconds;             /* spent training, by all processes of the run */
    struct data_loader_state data; /* of the training data */
    double best_loss;           /* validation; infinity before the first */
    uint64_t best_step;
};

/* Texts of "key=value" with blanks between. The first two must stay the same for a run to go on. */
struct run_identity {
    const char *recipe; /* all settings and data that shape the weights */
    const char *kept;   /* what the best weights are chosen and written by: without any yet, or in
                           a checkpoint that does not say it, another is accepted */
    const char *how;    /* how it is computed, which changes the rounding of sums alone */
};

/* The value that the recipe of a checkpoint has for a key; "" where it has none. */
enum status checkpoint_setting(const char *path, const char *key, char *value, size_t size,
                               struct error *err);
enum status checkpoint_save(const char *path, const struct trainer *trainer,
                            const struct progress *progress, const struct run_identity *identity,
                            struct error *err);
/* STATUS_NOT_FOUND when there is none; STATUS_INVALID when it is of another identity;
 * STATUS_CORRUPT when damaged. On failure trainer and progress are unchanged. Appends to `changes`
 * (unless NULL) what the checkpoint says other of `how`: "--threads 2 (now 4)". */
enum status checkpoint_load(const char *path, struct trainer *trainer, struct progress *progress,
                            const struct run_identity *identity, struct buffer *changes,
                            struct error *err);

#endif
