/* our_side.h - the engine, for the loads that llama.cpp gets.
 *
 * Ownership: a side owns all its members. One thread at a time.
 */
#ifndef ALPACA_BENCH_LLAMA_CPP_OUR_SIDE_H
#define ALPACA_BENCH_LLAMA_CPP_OUR_SIDE_H

#include "bench/load.h"
#include "engine/engine.h"

struct our_side {
    const struct model *random; /* borrowed */
    struct scheduler *plain;
    struct engine drafted;      /* real weights, and a draft of real weights */
    struct token_list *prompts; /* [stories] */
    int stories;
};

/* For `streams` stories at a time. `model` is a folder whose draft is beside it; NULL does without
 * that part. On failure our_side_close() is still due. */
enum status our_side_open(struct our_side *side, const struct model *random, const char *model,
                          int streams, int threads, struct error *err);
/* Tokens a second of the load that llama.cpp gets, with random weights, without a draft. */
enum status our_side_run(struct our_side *side, const struct load *load, double *rate,
                         struct error *err);
/* Tokens a second of real stories of at most load->new_tokens, two for each stream, with a draft:
 * random weights have no draft that could guess what they say. */
enum status our_side_run_drafted(struct our_side *side, const struct load *load, double *rate,
                                 struct error *err);
void our_side_close(struct our_side *side);

#endif
