/* letters.h - upper and lower case, one character for one character and byte for byte.
 *
 * The simple case mappings of the Unicode Character Database (UnicodeData.txt) for the Latin, Greek
 * and Cyrillic letters whose two cases take as many bytes in UTF-8; all others have none here. So a
 * text keeps its characters and bytes where they are whatever the case of its letters, in any
 * locale. Pure functions; thread-safe.
 */
#ifndef ALPACA_TOKENIZER_LETTERS_H
#define ALPACA_TOKENIZER_LETTERS_H

#include <stdbool.h>
#include <stddef.h>

/* Lower case for every letter of text[bytes], in place. What is no UTF-8 stays as it is. */
void letters_lower(char *text, size_t bytes);
/* Upper case for the first character of text[bytes], in place; false when it has none or is so. */
bool letters_raise(char *text, size_t bytes);
/* Whether the first character of text[bytes] is a letter in upper case. */
bool letters_is_upper(const char *text, size_t bytes);
/* Whether text[bytes] is `lowered[bytes]` but for the case of its letters. */
bool letters_match(const char *text, const char *lowered, size_t bytes);

#endif
