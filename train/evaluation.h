/* evaluation.h - the loss of a model over a whole dataset, in which all ranks
 * (train/ranks.h) have a part. Uses the pool: one caller at a time. What is
 * evaluated stays its owner's. */
#ifndef ALPACA_TRAIN_EVALUATION_H
#define ALPACA_TRAIN_EVALUATION_H

#include "base/status.h"
#include "model/model.h"
#include "train/data/dataset.h"
#include "train/device.h"

#include <stdbool.h>

struct evaluation {
    double loss;          /* mean nats per token, every story's eos included */
    double bits_per_byte; /* of the text, see dataset.h */
    size_t tokens, stories;
};

/* What is evaluated, and where. */
struct evaluated {
    const struct model *model;
    struct pool *pool;
    struct device *device; /* NULL: the pool computes; else the device does, with its parameters */
    bool unmasked; /* every token sees its whole story, as no model is trained */
};

/* Without dropout. All ranks call it at once, and each gets the whole result. STATUS_NO_MEMORY, or
 * the device's error. */
enum status evaluate(const struct evaluated *evaluated, const struct dataset *dataset,
                     struct evaluation *evaluation, struct error *err);

#endif
