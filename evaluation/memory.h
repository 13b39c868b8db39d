/* memory.h - what stories share with the training text, word for word.
 *
 * A run is a row of token ids, one after another. Runs end where stories do, on either side.
 *
 * The stories are few and the training text is long, so it is the stories whose suffixes are sorted
 * (Manber & Myers, "Suffix arrays: a new method for on-line string searches", 1993); every position
 * of the training text then finds its two neighbors among them, and no position shares more with a
 * suffix than with everything between the two.
 *
 * Ownership: everything is the caller's. One thread, the pool's user.
 */
#ifndef ALPACA_EVALUATION_MEMORY_H
#define ALPACA_EVALUATION_MEMORY_H

#include "base/pool.h"
#include "base/status.h"
#include "evaluation/training_text.h"
#include "tokenizer/tokenizer.h"

#include <stddef.h>

struct memory_run {
    size_t begin, length; /* ids of the story */
};

/* Fills runs[count]: of each story, without bos and eos, its longest run that the training text has
 * too, the first of equals. STATUS_UNSUPPORTED for ids that no dataset can hold. */
enum status memory_longest_runs(const struct training_text *training,
                                const struct token_list *stories, size_t count, struct pool *pool,
                                struct memory_run *runs, struct error *err);

#endif
