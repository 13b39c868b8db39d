/* story_json.h - finding and reading one JSON object or string among many.
 * Thread-safe.
 */
#ifndef ALPACA_TRAIN_DATA_STORY_JSON_H
#define ALPACA_TRAIN_DATA_STORY_JSON_H

#include "base/buffer.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* Looks for the end of an object or a string that may arrive in parts: start from {0}. */
struct json_scan {
    size_t seen; /* bytes looked at so far */
    int depth;   /* open braces and brackets */
    bool in_string;
    bool escaped; /* the last byte seen was a backslash in a string */
};

enum json_found { JSON_MORE, JSON_COMPLETE, JSON_BROKEN };

/* Goes on over text[bytes], whose first byte is the value's '{' or '"' in every call.
 * JSON_COMPLETE: the value is text[0 .. scan->seen). JSON_BROKEN: a line break
 * inside a string, so that one lost quote does not swallow the file. */
enum json_found json_scan_value(struct json_scan *scan, const char *text, size_t bytes);

/* Appends the string, or of an object its "text", or else its "story". `value` is changed: the
 * escape \u0000 becomes a space and half a surrogate pair U+FFFD, neither of
 * which could be distinguished later from a string's end or from damage. */
enum status json_story(char *value, size_t bytes, struct buffer *story, struct error *err);

#endif
