#include "server/api/json.h"

#include "tokenizer/utf8.h"

#include <string.h>

struct reader {
    const char *text;
    size_t at, bytes;
    struct error *err;
};

static enum status check_value(struct reader *reader, int depth);

static enum status fail(const struct reader *reader, const char *what) {
    return error_set(reader->err, STATUS_INVALID, "the body is not valid JSON: %s at byte %zu",
                     what, reader->at + 1);
}

static int peek(const struct reader *reader) {
    return reader->at < reader->bytes ? (unsigned char)reader->text[reader->at] : -1;
}

static void skip_space(struct reader *reader) {
    while (reader->at < reader->bytes && memchr(" \t\r\n", reader->text[reader->at], 4))
        reader->at++;
}

/* The four hex digits of \uXXXX, or -1. */
static int hex4(const struct reader *reader, size_t at) {
    int value = 0;
    if (at + 4 > reader->bytes)
        return -1;
    for (size_t i = at; i < at + 4; i++) {
        char c = reader->text[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* After "\u". A NUL could not be told from a string's end later on, so it is refused here. */
static enum status check_unicode_escape(struct reader *reader) {
    int code = hex4(reader, reader->at);
    if (code < 0)
        return fail(reader, "\\u needs four hex digits");
    if (code == 0)
        return fail(reader, "\\u0000 is not accepted in text");
    if (code >= 0xdc00 && code <= 0xdfff)
        return fail(reader, "half of a surrogate pair");
    reader->at += 4;
    if (code >= 0xd800 && code <= 0xdbff) {
        bool escaped = reader->at + 2 <= reader->bytes &&
                       memcmp(reader->text + reader->at, "\\u", 2) == 0;
        int low = escaped ? hex4(reader, reader->at + 2) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return fail(reader, "half of a surrogate pair");
        reader->at += 6;
    }
    return STATUS_OK;
}

static enum status check_string(struct reader *reader) {
    reader->at++; /* the opening quote */
    for (;;) {
        int c = peek(reader);
        if (c < 0)
            return fail(reader, "text without a closing quote");
        if (c == '"') {
            reader->at++;
            return STATUS_OK;
        }
        if (c < 0x20)
            return fail(reader, "a control character that must be escaped (\\n, \\t, ...)");
        if (c == '\\') {
            reader->at++;
            c = peek(reader);
            if (c < 0 || !memchr("\"\\/bfnrtu", c, 9))
                return fail(reader, "an unknown escape");
            reader->at++;
            enum status status = c == 'u' ? check_unicode_escape(reader) : STATUS_OK;
            if (status != STATUS_OK)
                return status;
            continue;
        }
        size_t length = utf8_length(reader->text + reader->at, reader->bytes - reader->at);
        if (length == 0)
            return fail(reader, "text that is not UTF-8");
        reader->at += length;
    }
}

static bool skip_digits(struct reader *reader) {
    size_t begin = reader->at;
    while (peek(reader) >= '0' && peek(reader) <= '9')
        reader->at++;
    return reader->at > begin;
}

static enum status check_number(struct reader *reader) {
    if (peek(reader) == '-')
        reader->at++;
    if (peek(reader) == '0')
        reader->at++;
    else if (!skip_digits(reader))
        return fail(reader, "an unexpected character");
    if (peek(reader) == '.') {
        reader->at++;
        if (!skip_digits(reader))
            return fail(reader, "a number without digits after the point");
    }
    if (peek(reader) == 'e' || peek(reader) == 'E') {
        reader->at++;
        if (peek(reader) == '+' || peek(reader) == '-')
            reader->at++;
        if (!skip_digits(reader))
            return fail(reader, "a number without an exponent");
    }
    return STATUS_OK;
}

static enum status check_word(struct reader *reader) {
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        size_t length = strlen(words[i]);
        if (reader->bytes - reader->at >= length &&
            memcmp(reader->text + reader->at, words[i], length) == 0) {
            reader->at += length;
            return STATUS_OK;
        }
    }
    return fail(reader, "an unexpected character");
}

/* The members of an object or the items of an array, after the opening bracket. */
static enum status check_container(struct reader *reader, int depth, bool object) {
    int close = object ? '}' : ']';
    enum status status = STATUS_OK;
    reader->at++;
    skip_space(reader);
    if (peek(reader) == close) {
        reader->at++;
        return STATUS_OK;
    }
    for (;;) {
        if (object) {
            skip_space(reader);
            if (peek(reader) != '"')
                return fail(reader, "a member's name in double quotes was expected");
            status = check_string(reader);
            if (status != STATUS_OK)
                return status;
            skip_space(reader);
            if (peek(reader) != ':')
                return fail(reader, "a colon was expected");
            reader->at++;
        }
        status = check_value(reader, depth + 1);
        if (status != STATUS_OK)
            return status;
        skip_space(reader);
        int c = peek(reader);
        if (c != ',' && c != close)
            return fail(reader, object ? "a comma or } was expected" : "a comma or ] was expected");
        reader->at++;
        if (c == close)
            return STATUS_OK;
    }
}

static enum status check_value(struct reader *reader, int depth) {
    if (depth > JSON_MAX_DEPTH)
        return fail(reader, "too deep nesting");
    skip_space(reader);
    switch (peek(reader)) {
    case -1: return fail(reader, "a value is missing");
    case '{': return check_container(reader, depth, true);
    case '[': return check_container(reader, depth, false);
    case '"': return check_string(reader);
    case 't':
    case 'f':
    case 'n': return check_word(reader);
    default: return check_number(reader);
    }
}

enum status json_check(const char *text, size_t bytes, struct error *err) {
    struct reader reader = {text, 0, bytes, err};
    enum status status = check_value(&reader, 1);
    if (status != STATUS_OK)
        return status;
    skip_space(&reader);
    return reader.at == bytes ? STATUS_OK : fail(&reader, "more text after the value");
}

void json_append_bytes(struct buffer *out, const char *text, size_t bytes) {
    static const char escapes[] = "btn.fr"; /* \b \t \n, \v has none, \f \r: 8 to 13 */
    buffer_append(out, "\"", 1);
    size_t plain = 0; /* start of what needs no escape */
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        size_t length = c < 0x80 ? 1 : utf8_length(text + i, bytes - i);
        if (length > 1 || (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')) {
            i += length - 1;
            continue;
        }
        buffer_append(out, text + plain, i - plain);
        plain = i + 1;
        if (length == 0)
            buffer_append_text(out, UTF8_REPLACEMENT);
        else if (c == '"' || c == '\\')
            buffer_printf(out, "\\%c", c);
        else if (c >= 8 && c <= 13 && c != 11)
            buffer_printf(out, "\\%c", escapes[c - 8]);
        else
            buffer_printf(out, "\\u%04x", c);
    }
    buffer_append(out, text + plain, bytes - plain);
    buffer_append(out, "\"", 1);
}

void json_append_text(struct buffer *out, const char *text) {
    json_append_bytes(out, text, strlen(text));
}
