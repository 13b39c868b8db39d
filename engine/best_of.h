/* best_of.h - which of several completions of one prompt is the best.
 *
 * Candidates are completions that differ in nothing but their seeds. They are
 * scored by the model's own log-probabilities (sampler.h), so they must have been
 * started with `logprobs`. A score depends on the candidate alone, and its sum has
 * one fixed order, so the best is the same at any load.
 *
 * What a model finds likeliest, it likes to say again (Holtzman et al., "The
 * Curious Case of Neural Text Degeneration", ICLR 2020), and next to nothing is
 * likelier than any story, so a story's score has repetition taken off, and more
 * where it is short or has no end. docs/experiments.md shows what that is worth.
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
/* The mean log-probability of the tokens that a finished candidate's text shows, by which OpenAI's
 * best_of chooses; -infinity when there are none. */
double best_of_likelihood(const struct completion *candidate);
/* How good a finished candidate is as a story: its likelihood, less BEST_OF_REPETITION times the
 * share of its runs of four tokens that it had before, less BEST_OF_PART where it has fewer than
 * BEST_OF_STORY tokens or was cut off at its greatest length. */
double best_of_score(const struct completion *candidate);
#define BEST_OF_REPETITION 4.0
#define BEST_OF_PART 2.0
enum { BEST_OF_STORY = 60 };
/* Puts the indices of `scores[count]` into `ranking[count]`, the best first; of equal ones the
 * lower index. */
void best_of_rank(const double *scores, int count, int *ranking);

#endif
