/* bpe.h - byte-pair encoding: normalized text to ids.
 *
 * Starts from characters (user-defined symbols whole) and merges the adjacent
 * pair that makes the best-scoring piece, the leftmost among equals, until no
 * pair makes a piece. A heap of candidate pairs keeps this O(n log n).
 * Ownership: working memory lives during one call. Thread-safe over a
 * vocabulary that does not change.
 */
#ifndef ALPACA_TOKENIZER_BPE_H
#define ALPACA_TOKENIZER_BPE_H

#include "base/status.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocabulary.h"

#include <stddef.h>

/* Appends the ids of text[bytes]; runs of unknown characters give one unknown
 * id, or the ids of their bytes when the model falls back to bytes. */
enum status bpe_encode(const struct vocabulary *vocabulary, const char *text, size_t bytes,
                       struct token_list *ids, struct error *err);

#endif
