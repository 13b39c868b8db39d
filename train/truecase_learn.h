/* truecase_learn.h - a table for capitals (tokenizer/truecase.h), learnt from stories that have
 * them.
 *
 * Logistic regression over the features of every word, by FTRL-Proximal with an L1 norm, which
 * leaves most weights at zero: McMahan et al., "Ad Click Prediction: a View from the Trenches"
 * (KDD 2013), algorithm 1. The order of the stories is a permutation that the pass determines, so
 * the same stories give the same table.
 *
 * Ownership: a learner starts as {0} and owns its stories and features until
 * truecase_learner_free(). Not thread-safe.
 */
#ifndef ALPACA_TRAIN_TRUECASE_LEARN_H
#define ALPACA_TRAIN_TRUECASE_LEARN_H

#include "base/buffer.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

struct truecase_settings {
    int passes;    /* over the stories */
    double l1;     /* the norm's strength: more of it makes the table smaller */
    int min_count; /* of a feature in the stories; rarer ones are left out */
};

struct truecase_learner {
    struct buffer texts; /* of the stories, one after another, each with a NUL */
    size_t *stories;     /* [story_count] where they begin */
    size_t story_count, story_capacity;
    struct truecase_candidate *candidates; /* [capacity], a hash table; features seen so far */
    size_t capacity, count;
    struct buffer names; /* the texts of the features, each with a NUL */
    uint64_t words;
};

/* Takes a story in: clean text (train/data/text_clean.h) with its capitals. */
enum status truecase_learner_add(struct truecase_learner *learner, const char *text, size_t bytes,
                                 struct error *err);
/* Learns, and appends the table's text: fewer than TRUECASE_FILE_BYTES, for which the smallest
 * weights are left out if need be. *weights is how many it has. */
enum status truecase_learn(struct truecase_learner *learner,
                           const struct truecase_settings *settings, struct buffer *table,
                           size_t *weights, struct error *err);
void truecase_learner_free(struct truecase_learner *learner);

#endif
