/* foreign.h - names what was given in place of a file that can be read.
 *
 * Readers ask once they have found that they cannot read something, so that the error says what it
 * is ("a Git LFS pointer") and not only what it is not.
 * Ownership: the words are constants. Thread-safe.
 */
#ifndef ALPACA_BASE_FOREIGN_H
#define ALPACA_BASE_FOREIGN_H

#include "base/status.h"

#include <stddef.h>

/* What the file that begins with these bytes is and what to do about it, to follow "PATH is ";
 * NULL when it is nothing known. The first 512 bytes are enough. */
const char *foreign_name(const char *bytes, size_t size);

/* The same for what merely stands for a file: a Git LFS pointer, or a web page. */
const char *foreign_stub(const char *bytes, size_t size);

/* The length of a UTF-8 byte order mark at the start: 3 or 0. */
size_t utf8_mark(const char *bytes, size_t size);

#endif
