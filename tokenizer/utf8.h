/* utf8.h - what counts as one UTF-8 character.
 *
 * Strict: overlong encodings, surrogates and anything above U+10FFFF are invalid.
 * Pure functions; thread-safe.
 */
#ifndef ALPACA_TOKENIZER_UTF8_H
#define ALPACA_TOKENIZER_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#define UTF8_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD, 3 bytes */

/* Bytes of the valid character at the start of text[bytes]; 0 when there is none. */
size_t utf8_length(const char *text, size_t bytes);

/* Bytes the first byte promises (1 for a byte that cannot start a character),
 * looking at nothing but that byte. */
size_t utf8_promised(unsigned char first);

/* True when text[bytes] is the beginning of a character whose end is missing
 * (as far as its trail bytes tell; an overlong form shows when it is complete). */
bool utf8_unfinished(const char *text, size_t bytes);

/* Characters of a valid text. */
size_t utf8_count(const char *text, size_t bytes);

#endif
