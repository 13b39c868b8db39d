/* link_parser.h - asks link-grammar's program whether it can parse sentences.
 *
 * link-parser (Sleator & Temperley, "Parsing English with a Link Grammar", 1991) runs once for all
 * sentences and without a limit of time, so that its answers are the same on every machine.
 *
 * Ownership: everything is the caller's. Thread-safe.
 */
#ifndef ALPACA_EVALUATION_LINK_PARSER_H
#define ALPACA_EVALUATION_LINK_PARSER_H

#include "base/buffer.h"
#include "base/status.h"
#include "evaluation/texture.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool link_parser_is_here(void); /* in a folder of PATH */

/* Appends a sample of the stories' sentences, one a line, drawn by `seed` from those that a parser
 * can be asked about: one whole sentence of a few words (what someone says may have several).
 * Stories are without capitals, so these are put where names and sentences begin. *count becomes
 * their number. */
enum { LINK_SENTENCES = 500, LINK_MIN_WORDS = 3, LINK_MAX_WORDS = 20 };
enum status link_parser_sample(const struct texture_stories *stories,
                               const struct training_words *words, uint64_t seed,
                               struct buffer *lines, size_t *count, struct error *err);

/* *parsed becomes the number of lines that have a complete linkage. */
enum status link_parser_run(const struct buffer *lines, size_t count, size_t *parsed,
                            struct error *err);

#endif
