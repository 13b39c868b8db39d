/* case_list.h - the cases of a choice test: one beginning, a right end and wrong ones.
 *
 * Ownership: the list owns the texts of its questions. Not thread-safe.
 */
#ifndef ALPACA_EVALUATION_CASE_LIST_H
#define ALPACA_EVALUATION_CASE_LIST_H

#include "base/status.h"
#include "evaluation/likelihood.h"

#include <stddef.h>

struct case_list {
    struct question *questions; /* [count] */
    size_t count, capacity;
};

/* A run of bytes in a text of somebody else's. */
struct piece {
    const char *text;
    size_t bytes;
};

/* Adds a case: what all texts begin with, and the `count` ends, the right one first. */
enum status case_list_add(struct case_list *cases, struct piece beginning,
                          const struct piece *ends, int count, struct error *err);
void case_list_free(struct case_list *cases);

#endif
