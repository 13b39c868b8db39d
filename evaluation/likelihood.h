/* likelihood.h - how likely a model finds texts that differ in a span, without a grader.
 *
 * A question is two or more whole texts. The token ids that all of them begin with are computed
 * once; what comes after them in each is the span that differs, whose log-probabilities are summed
 * (teacher forcing: every token given all of the text before it). Computed through the kv cache, in
 * the numbers that the model was opened with, as the server would; with INT8 the sums are the same,
 * bit for bit, on every machine and with any number of threads.
 *
 * Ownership: everything is the caller's. One thread, the pool's user.
 */
#ifndef ALPACA_EVALUATION_LIKELIHOOD_H
#define ALPACA_EVALUATION_LIKELIHOOD_H

#include "evaluation/harness.h"

#include <stdbool.h>
#include <stddef.h>

enum { LIKELIHOOD_CHOICES = 4 };

struct question {
    char *texts[LIKELIHOOD_CHOICES]; /* [count] the right one first; the asker's */
    int count;
    /* The answer. `fits` is false when a text has more tokens than the model has positions for, or
     * is the beginning of another, so that there is nothing to compare. */
    bool fits;
    double sums[LIKELIHOOD_CHOICES]; /* of each text's span, in nats */
    int tokens[LIKELIHOOD_CHOICES];  /* the span's */
};

/* Answers questions[count]; `what` is for the progress line. */
enum status likelihood(struct harness *harness, const struct engine *model, const char *what,
                       struct question *questions, size_t count, struct error *err);

#endif
