/* checkpoint.h - everything a run needs to go on, in one file.
 *
 * A safetensors file: the trainer's state buffers as flat F32 tensors, and the
 * counters as metadata. It is replaced in one step, so a crash or a full disk
 * at any moment leaves the previous one whole. `recipe` is the text of all
 * settings and data that shape the result; a checkpoint of another recipe is
 * refused. One thread at a time for one trainer or path.
 */
#ifndef ALPACA_TRAIN_CHECKPOINT_H
#define ALPACA_TRAIN_CHECKPOINT_H

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

enum status checkpoint_save(const char *path, const struct trainer *trainer,
                            const struct progress *progress, const char *recipe,
                            struct error *err);
/* STATUS_NOT_FOUND when there is none; STATUS_INVALID when it is another recipe's;
 * STATUS_CORRUPT when damaged. On failure trainer and progress are unchanged. */
enum status checkpoint_load(const char *path, struct trainer *trainer, struct progress *progress,
                            const char *recipe, struct error *err);

#endif
