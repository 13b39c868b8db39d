/* prefix_matcher.h - which of a set of words does a text begin with?
 *
 * Finds the user-defined symbols of a model, which are kept whole in any text.
 * The words lie sorted; a match narrows a range of them byte by byte.
 * Ownership: the words' bytes belong to the caller and must outlive the
 * matcher. A finished matcher never changes: thread-safe.
 */
#ifndef ALPACA_TOKENIZER_PREFIX_MATCHER_H
#define ALPACA_TOKENIZER_PREFIX_MATCHER_H

#include "tokenizer/model_file.h"

#include <stdbool.h>
#include <stddef.h>

struct prefix_matcher {
    struct text_span *words; /* [count], sorted bytewise */
    size_t count, capacity;
    bool starts[256]; /* whether any word starts with this byte */
};

/* Adds a word of at least one byte; false when memory runs out. */
bool prefix_matcher_add(struct prefix_matcher *matcher, struct text_span word);
/* To be called once after the last word and before the first search. */
void prefix_matcher_sort(struct prefix_matcher *matcher);
void prefix_matcher_free(struct prefix_matcher *matcher);

/* Bytes of the longest word that text[bytes] begins with; 0 when there is none. */
size_t prefix_matcher_longest(const struct prefix_matcher *matcher, const char *text,
                              size_t bytes);

#endif
