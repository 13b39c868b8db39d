#include "server/api/json.h"

#include "base/foreign.h"
#include "tokenizer/utf8.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const char *text;
    size_t at, bytes;
    struct buffer token; /* the string or number that was read last */
    struct error *err;
};

static enum status read_value(struct reader *reader, int depth, cJSON *value);

static enum status fail(const struct reader *reader, const char *what) {
    return error_set(reader->err, STATUS_INVALID, "the body is not valid JSON: %s at byte %zu",
                     what, reader->at + 1);
}

/* For what is JSON, but not accepted here. */
static enum status refuse(const struct reader *reader, const char *what) {
    return error_set(reader->err, STATUS_INVALID, "the body's JSON has %s at byte %zu", what,
                     reader->at + 1);
}

static enum status no_memory(const struct reader *reader) {
    return error_set(reader->err, STATUS_NO_MEMORY, "no memory for the request");
}

static int peek(const struct reader *reader) {
    return reader->at < reader->bytes ? (unsigned char)reader->text[reader->at] : -1;
}

static void skip_space(struct reader *reader) {
    while (reader->at < reader->bytes && memchr(" \t\r\n", reader->text[reader->at], 4))
        reader->at++;
}

/* The value of the four hex digits of \uXXXX, or -1. */
static int hex4(const struct reader *reader, size_t at) {
    char digits[5] = "";
    if (at + 4 <= reader->bytes)
        memcpy(digits, reader->text + at, 4);
    return strspn(digits, "0123456789abcdefABCDEF") == 4 ? (int)strtol(digits, NULL, 16) : -1;
}

static void append_code_point(struct buffer *out, unsigned code) {
    static const unsigned first_bits[] = {0, 0xc0, 0xe0, 0xf0};
    unsigned trail = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    char bytes[4] = {(char)(first_bits[trail] | code >> 6 * trail)};
    for (unsigned i = 1; i <= trail; i++)
        bytes[i] = (char)(0x80 | (code >> 6 * (trail - i) & 0x3f));
    buffer_append(out, bytes, trail + 1);
}

/* After "\u". A NUL would end a C string early, so it is refused here. */
static enum status read_code_point(struct reader *reader) {
    int code = hex4(reader, reader->at);
    if (code < 0)
        return fail(reader, "\\u needs four hex digits");
    if (code == 0)
        return refuse(reader, "a NUL (\\u0000), which no text here may have,");
    if (code >= 0xdc00 && code <= 0xdfff)
        return fail(reader, "half of a surrogate pair");
    reader->at += 4;
    if (code >= 0xd800 && code <= 0xdbff) {
        bool escaped = reader->at + 2 <= reader->bytes &&
                       memcmp(reader->text + reader->at, "\\u", 2) == 0;
        int low = escaped ? hex4(reader, reader->at + 2) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return fail(reader, "half of a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        reader->at += 6;
    }
    append_code_point(&reader->token, (unsigned)code);
    return STATUS_OK;
}

static enum status read_escape(struct reader *reader) {
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    reader->at++; /* the backslash */
    int c = peek(reader);
    const char *letter = c > 0 ? strchr(letters, c) : NULL;
    if (!letter && c != 'u')
        return fail(reader, "an unknown escape");
    reader->at++;
    if (!letter)
        return read_code_point(reader);
    buffer_append(&reader->token, &meant[letter - letters], 1);
    return STATUS_OK;
}

/* The string that begins here, decoded; the caller owns it, as a part of cJSON's tree. */
static enum status read_string(struct reader *reader, char **string) {
    int c;
    buffer_clear(&reader->token);
    reader->at++; /* the opening quote */
    while ((c = peek(reader)) != '"') {
        if (c < 0)
            return fail(reader, "text without a closing quote");
        if (c < 0x20)
            return fail(reader, "a control character that must be escaped (\\n, \\t, ...)");
        if (c == '\\') {
            enum status status = read_escape(reader);
            if (status != STATUS_OK)
                return status;
            continue;
        }
        size_t length = utf8_length(reader->text + reader->at, reader->bytes - reader->at);
        if (length == 0)
            return fail(reader, "text that is not UTF-8");
        buffer_append(&reader->token, reader->text + reader->at, length);
        reader->at += length;
    }
    reader->at++;
    *string = buffer_append(&reader->token, "", 1) ? cJSON_malloc(reader->token.size) : NULL;
    if (!*string)
        return no_memory(reader);
    memcpy(*string, reader->token.data, reader->token.size);
    return STATUS_OK;
}

static bool skip_digits(struct reader *reader) {
    size_t begin = reader->at;
    while (peek(reader) >= '0' && peek(reader) <= '9')
        reader->at++;
    return reader->at > begin;
}

static enum status read_number(struct reader *reader, cJSON *value) {
    size_t begin = reader->at;
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
    buffer_clear(&reader->token); /* strtod() wants a NUL behind the digits */
    if (!buffer_append(&reader->token, reader->text + begin, reader->at - begin))
        return no_memory(reader);
    value->type = cJSON_Number;
    cJSON_SetNumberValue(value, strtod(reader->token.data, NULL));
    return STATUS_OK;
}

static enum status read_word(struct reader *reader, const char *word, int type, cJSON *value) {
    size_t length = strlen(word);
    if (reader->bytes - reader->at < length ||
        memcmp(reader->text + reader->at, word, length) != 0)
        return fail(reader, "an unexpected character");
    reader->at += length;
    value->type = type;
    return STATUS_OK;
}

static enum status read_name(struct reader *reader, cJSON *member) {
    skip_space(reader);
    if (peek(reader) != '"')
        return fail(reader, "a member's name in double quotes was expected");
    enum status status = read_string(reader, &member->string);
    if (status != STATUS_OK)
        return status;
    skip_space(reader);
    if (peek(reader) != ':')
        return fail(reader, "a colon was expected");
    reader->at++;
    return STATUS_OK;
}

/* An object or a list. What was read of it before an error is in the tree, and freed with it. */
static enum status read_container(struct reader *reader, int depth, cJSON *container) {
    bool object = peek(reader) == '{';
    int close = object ? '}' : ']';
    container->type = object ? cJSON_Object : cJSON_Array;
    reader->at++;
    skip_space(reader);
    if (peek(reader) == close) {
        reader->at++;
        return STATUS_OK;
    }
    for (;;) {
        cJSON *item = cJSON_CreateNull();
        if (!item)
            return no_memory(reader);
        cJSON_AddItemToArray(container, item);
        enum status status = object ? read_name(reader, item) : STATUS_OK;
        if (status == STATUS_OK)
            status = read_value(reader, depth + 1, item);
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

/* Turns `value`, a null in the tree, into the value that begins here. */
static enum status read_value(struct reader *reader, int depth, cJSON *value) {
    if (depth > JSON_MAX_DEPTH)
        return refuse(reader, "too deep nesting");
    skip_space(reader);
    switch (peek(reader)) {
    case -1: return fail(reader, "a value is missing");
    case '{':
    case '[': return read_container(reader, depth, value);
    case '"': value->type = cJSON_String; return read_string(reader, &value->valuestring);
    case 't': return read_word(reader, "true", cJSON_True, value);
    case 'f': return read_word(reader, "false", cJSON_False, value);
    case 'n': return read_word(reader, "null", cJSON_NULL, value);
    default: return read_number(reader, value);
    }
}

enum status json_parse(const char *text, size_t bytes, struct cJSON **tree, struct error *err) {
    struct reader reader = {.text = text, .at = utf8_mark(text, bytes), .bytes = bytes, .err = err};
    cJSON *root = cJSON_CreateNull();
    enum status status = root ? read_value(&reader, 1, root) : no_memory(&reader);
    skip_space(&reader);
    if (status == STATUS_OK && reader.at != bytes)
        status = fail(&reader, "more text after the value");
    buffer_free(&reader.token);
    if (status == STATUS_OK) {
        *tree = root;
        return STATUS_OK;
    }
    cJSON_Delete(root);
    const char *foreign = status == STATUS_INVALID ? foreign_name(text, bytes) : NULL;
    return foreign ? error_set(err, status, "the body is %s", foreign) : status;
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
