/* text_clean.h - one story as the model sees it: whole UTF-8 on one line.
 *
 * - Mojibake (UTF-8 once, or several times, taken for Windows-1252) is undone
 *   where it is certain: sequences that correct English text cannot contain,
 *   such as those that stand for curly quotes, dashes and accented letters.
 * - Control characters, line separators and <|endoftext|> count as white space;
 *   every run of white space becomes one space, none at either end.
 * - Case and everything else stay as they are. Cleaning twice changes nothing.
 * Thread-safe.
 */
#ifndef ALPACA_TRAIN_DATA_TEXT_CLEAN_H
#define ALPACA_TRAIN_DATA_TEXT_CLEAN_H

#include "base/buffer.h"

#include <stddef.h>

enum text_verdict {
    TEXT_GOOD,
    TEXT_EMPTY,        /* nothing but white space */
    TEXT_INVALID_UTF8, /* damaged: what the bytes meant cannot be known */
    TEXT_NO_MEMORY,
};

/* Replaces *clean by the clean form of text[bytes]; adds the mojibake sequences
 * undone to *repairs. `text` must not lie in *clean. */
enum text_verdict text_clean(const char *text, size_t bytes, struct buffer *clean,
                             size_t *repairs);

#endif
