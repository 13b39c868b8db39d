/* load.h - many stories at once on a scheduler, timed.
 *
 * One thread. The scheduler is borrowed.
 */
#ifndef ALPACA_BENCH_LOAD_H
#define ALPACA_BENCH_LOAD_H

#include "engine/scheduler.h"
#include "tokenizer/tokenizer.h"

struct load {
    int streams; /* stories under way at once */
    int stories; /* in all; where one ends the next begins. At least `streams` */
    int prompt_tokens; /* random ids, others for every story */
    const struct token_list *prompts; /* [stories] instead of those, or NULL */
    int new_tokens; /* of each story */
    int vocab;
    float temperature;
    uint64_t seed;
};

struct load_result {
    double seconds;       /* from the first submit to the end of the last story */
    uint64_t tokens;      /* generated, all stories together */
    double first_token_s; /* mean time from submit to a story's first token */
};

/* Tells all stories to their ends. */
enum status load_run(struct scheduler *scheduler, const struct load *load,
                     struct load_result *result, struct error *err);

#endif
