/* normalizer.h - text as the vocabulary wants to see it.
 *
 * Replaces characters by the rules compiled into the model (a double-array
 * trie over the text's bytes and a blob of replacements), turns invalid UTF-8
 * into U+FFFD, tidies white space and marks it with U+2581. Also serves as
 * denormalizer where a model has one.
 * Ownership: rules are read from the caller's bytes, which must outlive the
 * normalizer; the trie's units are copied. Never changes: thread-safe.
 */
#ifndef ALPACA_TOKENIZER_NORMALIZER_H
#define ALPACA_TOKENIZER_NORMALIZER_H

#include "base/buffer.h"
#include "base/status.h"
#include "tokenizer/model_file.h"
#include "tokenizer/prefix_matcher.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct normalizer {
    uint32_t *units; /* [unit_count]; NULL without rules */
    size_t unit_count;
    struct text_span replacements;        /* NUL-terminated texts; units point inside */
    const struct prefix_matcher *matcher; /* words that no rule touches */
    bool add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces, whitespace_as_suffix;
    bool ascii_alone[256]; /* this byte before an ASCII byte or the end stays as it is */
};

/* `matcher` may be NULL; otherwise it must outlive the normalizer. */
enum status normalizer_init(struct normalizer *normalizer, const struct normalizer_spec *spec,
                            bool whitespace_as_suffix, const struct prefix_matcher *matcher,
                            const char *name, struct error *err);
void normalizer_free(struct normalizer *normalizer);

/* Appends the normalized form of text[bytes]. */
enum status normalizer_run(const struct normalizer *normalizer, const char *text, size_t bytes,
                           struct buffer *out, struct error *err);

#endif
