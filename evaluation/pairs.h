/* pairs.h - evaluation/pairs.jsonl: pairs of a right and a wrong continuation, written by hand.
 *
 * One JSON object a line: {"kind": "factual" | "reasoning" | "context", "prompt", "right",
 * "wrong"}. Between prompt and continuation goes a blank, unless the continuation begins with a
 * mark. They were written before any model had seen them, and never change for a model's sake.
 * Thread-safe.
 */
#ifndef ALPACA_EVALUATION_PAIRS_H
#define ALPACA_EVALUATION_PAIRS_H

#include "evaluation/case_list.h"

/* Appends the pairs of one kind as cases. STATUS_CORRUPT names a line that is none. */
enum status pairs_read(struct case_list *cases, const char *path, const char *kind,
                       struct error *err);

#endif
