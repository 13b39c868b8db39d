/* generate.h - what a model makes of prompts: continuations, many at once.
 *
 * Ownership: the caller frees continuations. One thread uses an engine so at a time.
 */
#ifndef ALPACA_EVALUATION_GENERATE_H
#define ALPACA_EVALUATION_GENERATE_H

#include "base/status.h"
#include "engine/engine.h"
#include "evaluation/harness.h"

#include <stdint.h>

#define GENERATE_TEMPERATURE 0.7 /* of all continuations, as by default in the server */

/* Candidate i of prompt p is drawn with the seed `seed + p * best_of + i`; of a prompt's candidates
 * the best (engine/best_of.h) is its continuation. A story from nothing goes on from "". */
struct generate_options {
    const char *what; /* for the progress line */
    const char *const *prompts;
    int count; /* of the prompts */
    uint64_t seed;
    int best_of;    /* 1: the only one */
    int max_tokens; /* cut to what the model has positions for */
};

struct continuation {
    char *text;
    int tokens;
    double score; /* best_of_score() */
    uint64_t seed;
    enum finish_reason finish; /* FINISH_STOP: it ended by itself */
};

/* Fills continuations[options->count]; on failure there is nothing to free in them. */
enum status generate(struct harness *harness, struct engine *model,
                     const struct generate_options *options, struct continuation *continuations,
                     struct error *err);
void continuations_free(struct continuation *continuations, int count);

#endif
