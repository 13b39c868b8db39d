/* llama_side.h - llama.cpp, with a model of our shape, for loads like ours.
 *
 * Ownership: a side owns its model. One thread at a time.
 */
#ifndef ALPACA_BENCH_LLAMA_CPP_LLAMA_SIDE_H
#define ALPACA_BENCH_LLAMA_CPP_LLAMA_SIDE_H

#include "base/status.h"
#include "bench/load.h"
#include "model/model.h"

#include <stdbool.h>

struct llama_side;

struct llama_result {
    double seconds; /* from the first prompt to the end of the last story */
    double decode;  /* of those, in llama_decode() and what waits for it */
    uint64_t tokens;
};

/* Finds the backend for this CPU; before all others, once. */
void llama_start(void);
/* Version and instruction sets, as llama.cpp says them. */
void llama_print_version(void);

/* Writes `file`, a GGUF of the llama architecture with random weights of `type`, as ggml calls it
 * ("q8_0"), and nearly as many parameters as `shape` has: the same d_model, heads, layers and
 * vocabulary, and a gated feed-forward that is narrower, as it has a third matrix. */
enum status llama_write_model(const char *file, const struct model_config *shape, const char *type,
                              struct error *err);
/* With llama.cpp's flash attention or without. STATUS_CORRUPT when it does not open `file`. */
enum status llama_side_open(struct llama_side **side, const char *file, bool flash, int threads,
                            struct error *err);
/* Generates load->streams stories at once, from prompts of random ids. Each sequence has
 * `positions` places in the kv cache. */
enum status llama_side_run(struct llama_side *side, const struct load *load, int positions,
                           struct llama_result *result, struct error *err);
void llama_side_close(struct llama_side *side); /* NULL is allowed */

#endif
