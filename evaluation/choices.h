/* choices.h - the choice tests that are built by program from stories.
 *
 * Each builder appends its cases to a list. What is drawn comes from `seed`; the same stories and
 * seed give the same cases.
 * Ownership: the list is the caller's. Not thread-safe.
 */
#ifndef ALPACA_EVALUATION_CHOICES_H
#define ALPACA_EVALUATION_CHOICES_H

#include "evaluation/case_list.h"
#include "evaluation/stories.h"
#include "evaluation/words.h"

#include <stdint.h>

struct choice_source {
    const struct story_list *stories;
    const struct lexicon *lexicon; /* of these stories */
    uint64_t seed;
};

typedef enum status choice_builder(const struct choice_source *source, struct case_list *cases,
                                   struct error *err);

/* The last sentence of a story against those of three others. */
choice_builder choices_endings;
/* A name at its last mentions against another name that the story has before. */
choice_builder choices_names;
/* A thing at its last mention against a thing of another story that this one does not have. */
choice_builder choices_things;
/* Two neighboring sentences against the same two swapped. */
choice_builder choices_order;

#endif
