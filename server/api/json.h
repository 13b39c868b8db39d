/* json.h - strict reading and plain writing of JSON, around cJSON.
 *
 * cJSON builds the tree, but it takes what RFC 8259 does not allow (control
 * characters, "01", invalid UTF-8) and cuts strings at \u0000; json_check()
 * refuses all of that first, saying where. Thread-safe.
 */
#ifndef ALPACA_SERVER_API_JSON_H
#define ALPACA_SERVER_API_JSON_H

#include "base/buffer.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { JSON_MAX_DEPTH = 16 };

/* Whether `text[bytes]` is one JSON value and nothing else; STATUS_INVALID says what and where. */
enum status json_check(const char *text, size_t bytes, struct error *err);

/* Append a quoted and escaped string. What is no UTF-8 (a name that a message cut short, a path)
 * becomes U+FFFD, so that what we send is JSON whatever it quotes. */
void json_append_text(struct buffer *out, const char *text);
void json_append_bytes(struct buffer *out, const char *text, size_t bytes);

#endif
