/* training_text.h - the text that models learned from, as token ids and as words.
 *
 * Ownership: a training_text owns both. One thread loads it; then it is only read.
 */
#ifndef ALPACA_EVALUATION_TRAINING_TEXT_H
#define ALPACA_EVALUATION_TRAINING_TEXT_H

#include "base/pool.h"
#include "base/status.h"
#include "evaluation/training_words.h"
#include "tokenizer/tokenizer.h"
#include "train/data/dataset.h"

#include <stddef.h>
#include <stdint.h>

/* Start from {0}. */
struct training_text {
    uint16_t *ids; /* [id_count] story after story, each with bos before it and eos behind */
    size_t id_count, stories;
    struct training_words words;
};

/* Reads files ("a,b"); NULL for all training text that ships. Also after a failure
 * training_text_free() is due. */
enum status training_text_load(struct training_text *text, const char *files,
                               const struct tokenizer *tokenizer, struct pool *pool,
                               struct error *err);
void training_text_free(struct training_text *text);

#endif
