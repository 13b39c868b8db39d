/* best_of.h - which of several completions of one prompt is the best.
 *
 * Candidates are completions that differ in nothing but their seeds. They are
 * scored by the model's own log-probabilities (sampler.h), so they must have been
 * started with `logprobs`. A score depends on the candidate alone, and its sum has
 * one fixed order, so the best is the same at any load.
 *
 * Ownership: nothing is kept. Thread-safe, as long as no other thread uses the
 * completions.
 */
#ifndef ALPACA_ENGINE_BEST_OF_H
#define ALPACA_ENGINE_BEST_OF_H

#include "engine/completion.h"

#include <stdint.h>

enum { BEST_OF_MAX = 16 };

/* The seed of candidate `index`, which alone gives that candidate again; beyond SAMPLING_SEED_MAX
 * they go on from 0. */
uint64_t best_of_seed(uint64_t seed, int index);
/* How good a finished candidate is: the mean log-probability of the tokens that its text shows, as
 * OpenAI's best_of has it. One without any is -infinity. */
double best_of_score(const struct completion *candidate);
/* Puts the indices of `scores[count]` into `ranking[count]`, the best first; of equal ones the
 * lower index. */
void best_of_rank(const double *scores, int count, int *ranking);

#endif
