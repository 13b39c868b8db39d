#include "train/data/story_json.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <string.h>

enum json_found json_scan_value(struct json_scan *scan, const char *text, size_t bytes) {
    while (scan->seen < bytes) {
        char c = text[scan->seen++];
        if (scan->in_string) {
            if (c == '\n' || c == '\r')
                return JSON_BROKEN;
            if (scan->escaped)
                scan->escaped = false;
            else if (c == '\\')
                scan->escaped = true;
            else if (c == '"') {
                scan->in_string = false;
                if (scan->depth == 0)
                    return JSON_COMPLETE;
            }
        } else if (c == '"') {
            scan->in_string = true;
        } else if (c == '{' || c == '[') {
            scan->depth++;
        } else if ((c == '}' || c == ']') && --scan->depth == 0) {
            return JSON_COMPLETE;
        }
    }
    return JSON_MORE;
}

/* The number in "\uXXXX" at text, or -1. */
static int escape_value(const char *text, const char *end) {
    if (end - text < 6 || text[0] != '\\' || text[1] != 'u')
        return -1;
    int value = 0;
    for (int i = 2; i < 6; i++) {
        char c = text[i];
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

static void repair_escapes(char *object, size_t bytes) {
    const char *end = object + bytes;
    char *at = object;
    while ((at = memchr(at, '\\', (size_t)(end - at))) != NULL) {
        int value = escape_value(at, end);
        if (value < 0) { /* an escape of two characters, whatever it is */
            at += end - at >= 2 ? 2 : 1;
            continue;
        }
        if (value == 0) {
            memcpy(at + 2, "0020", 4);
        } else if (value >= 0xD800 && value <= 0xDFFF) {
            int low = value <= 0xDBFF ? escape_value(at + 6, end) : -1;
            if (low >= 0xDC00 && low <= 0xDFFF)
                at += 6;
            else
                memcpy(at + 2, "fffd", 4);
        }
        at += 6;
    }
}

enum status json_story(char *value, size_t bytes, struct buffer *story, struct error *err) {
    /* A raw NUL would end the string for cJSON without a word. */
    if (memchr(value, '\0', bytes))
        return error_set(err, STATUS_CORRUPT, "a NUL byte inside the JSON");
    repair_escapes(value, bytes);
    errno = 0; /* cJSON only says that it failed; malloc() says whether memory was why */
    cJSON *tree = cJSON_ParseWithLength(value, bytes);
    if (!tree && errno == ENOMEM)
        return error_set(err, STATUS_NO_MEMORY, "no memory to read the value");
    if (!tree)
        return error_set(err, STATUS_CORRUPT, "not valid JSON");
    enum status status = STATUS_OK;
    const char *name = "text";
    const cJSON *text = tree;
    if (cJSON_IsObject(tree) && !(text = cJSON_GetObjectItemCaseSensitive(tree, name)))
        text = cJSON_GetObjectItemCaseSensitive(tree, name = "story");
    if (!text)
        status = error_set(err, STATUS_INVALID, "neither \"text\" nor \"story\" in the object");
    else if (!cJSON_IsString(text))
        status = error_set(err, STATUS_INVALID, "\"%s\" is not a string", name);
    else if (!buffer_append_text(story, text->valuestring))
        status = error_set(err, STATUS_NO_MEMORY, "no memory for the story");
    cJSON_Delete(tree);
    return status;
}
