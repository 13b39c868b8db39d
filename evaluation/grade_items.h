/* grade_items.h - the answers that are graded, each under an id that does not say who wrote it.
 *
 * They are in a document with the part "prompts": what the original Alpaca and GPT2-XL answered,
 * and one answer of each of the document's models to the same prompts. An id is a hash of the
 * writer, the prompt and the answer, so a grade is of this answer alone: when a model or the seed
 * changes, the answers that change are without a grade again.
 *
 * Ownership: the caller frees the list; its texts are the document's. Thread-safe.
 */
#ifndef ALPACA_EVALUATION_GRADE_ITEMS_H
#define ALPACA_EVALUATION_GRADE_ITEMS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cJSON;

enum { GRADE_ID_BYTES = 16 + 1, GRADE_MODELS_FROM = 2 };

struct grade_item {
    char id[GRADE_ID_BYTES];
    bool is_story;     /* three grades; otherwise whether it fits */
    const char *kind;  /* of the prompt: "factual"; "story" */
    const char *prompt, *text;
    int writer; /* 0: the original Alpaca; 1: GPT2-XL; GRADE_MODELS_FROM ..: the document's */
};

enum status grade_items(const struct cJSON *root, struct grade_item **items, size_t *count,
                        struct error *err);
/* The name that goes with an item's `writer`. */
const char *grade_writer(const struct cJSON *root, int writer);
int grade_writers(const struct cJSON *root);
/* A number for all of them. */
uint64_t grade_items_hash(const struct grade_item *items, size_t count);

#endif
