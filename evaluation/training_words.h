/* training_words.h - which words the training text has, and which of them are names of someone.
 *
 * For text without capitals, as models write it: what a lexicon (words.h) sees by a capital, this
 * remembers of all stories that a model was trained on, in 16 bytes a word.
 *
 * Ownership: a training_words owns what it has learned. Not thread-safe while learning; then it is
 * only read.
 */
#ifndef ALPACA_EVALUATION_TRAINING_WORDS_H
#define ALPACA_EVALUATION_TRAINING_WORDS_H

#include "base/status.h"
#include "evaluation/words.h"
#include "train/data/story_set.h"

#include <stdbool.h>
#include <stddef.h>

/* Start from {0}. */
struct training_words {
    struct story_set known, names;
    struct word_counts *counts; /* [mask + 1] while learning */
    size_t count, mask;
};

/* Learns from one story in its own case. */
enum status training_words_learn(struct training_words *words, const char *story,
                                 struct error *err);
/* To be called after the last story. A name is a word that was introduced at least twice ("named
 * Lily") and where no sentence or quotation begins has a capital 19 times of 20. */
enum status training_words_finish(struct training_words *words, struct error *err);
void training_words_free(struct training_words *words);

/* In any case. */
bool training_words_know(const struct training_words *words, struct word word);
bool training_words_is_name(const struct training_words *words, struct word word);

/* A number for a word in any case; other words hardly share it. */
struct story_hash word_hash(struct word word);

#endif
