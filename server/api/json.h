/* json.h - strict reading and plain writing of JSON.
 *
 * The reader walks a text once and builds cJSON's nodes itself. cJSON's own
 * parser takes what RFC 8259 does not allow (control characters, "01", invalid
 * UTF-8), cuts strings at \u0000 and does not say what is wrong where, so that
 * a text would have to be checked before it is parsed.
 *
 * Ownership: a tree is its caller's, who ends it with cJSON_Delete().
 * Thread-safe.
 */
#ifndef ALPACA_SERVER_API_JSON_H
#define ALPACA_SERVER_API_JSON_H

#include "base/buffer.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { JSON_MAX_DEPTH = 16 };

struct cJSON;

/* Reads `text[bytes]`, which must be one JSON value and nothing else; a byte order mark before it
 * is skipped, as RFC 8259 allows. STATUS_INVALID says what is wrong and at which byte (from 1);
 * then, and without memory, *tree stays as it is. */
enum status json_parse(const char *text, size_t bytes, struct cJSON **tree, struct error *err);

/* Append a quoted and escaped string. Bytes that are not UTF-8 (of a path, or of a name that a
 * message cut short) become U+FFFD, so that the result is JSON whatever it quotes. */
void json_append_text(struct buffer *out, const char *text);
void json_append_bytes(struct buffer *out, const char *text, size_t bytes);

#endif
