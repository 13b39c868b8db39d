/* evaluation.h - the loss of a model over a whole dataset, in which all ranks
 * (train/ranks.h) have a part. Uses the pool: one caller at a time. */
#ifndef ALPACA_TRAIN_EVALUATION_H
#define ALPACA_TRAIN_EVALUATION_H

#include "base/status.h"
#include "model/model.h"
#include "train/data/dataset.h"

#include <stdbool.h>

struct evaluation {
    double loss;          /* mean nats per token, every story's eos included */
    double bits_per_byte; /* of the text, see dataset.h */
    size_t tokens, stories;
};

/* Without dropout. `unmasked`: every token sees its whole story, as no model is trained. */
enum status evaluate(const struct model *model, struct pool *pool, const struct dataset *dataset,
                     bool unmasked, struct evaluation *evaluation, struct error *err);

#endif
