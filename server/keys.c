#include "server/keys.h"

#include "base/file.h"
#include "base/foreign.h"

#include <string.h>
#include <strings.h>

enum { KEYS_FILE_LIMIT = 1 << 20 };

/* The next line that holds a key, without the white space around it. */
static const char *next_key(const char **at, size_t *length) {
    while (**at) {
        const char *begin = *at, *end = begin + strcspn(begin, "\r\n");
        *at = *end ? end + 1 : end;
        begin += strspn(begin, " \t");
        while (end > begin && strchr(" \t", end[-1]))
            end--;
        if (begin < end && *begin != '#') {
            *length = (size_t)(end - begin);
            return begin;
        }
    }
    return NULL;
}

enum status keys_load(struct keys *keys, const char *path, struct error *err) {
    size_t length;
    *keys = (struct keys){0};
    enum status status = file_read(path, KEYS_FILE_LIMIT, &keys->text, err);
    const char *at = keys->text.data ? keys->text.data : "", *name;
    if (status == STATUS_OK && (name = foreign_name(at, keys->text.size)) != NULL)
        status = error_set(err, STATUS_INVALID, "%s is %s", path, name);
    else if (status == STATUS_OK && memchr(at, '\0', keys->text.size))
        status = error_set(err, STATUS_INVALID, "%s holds a NUL byte, so it is no text", path);
    if (utf8_mark(at, keys->text.size)) /* as white space before the first line */
        memset(keys->text.data, '\n', 3);
    if (status == STATUS_OK && !next_key(&at, &length))
        status = error_set(err, STATUS_INVALID, "%s holds no key", path);
    keys->required = true;
    if (status != STATUS_OK)
        keys_free(keys);
    return status;
}

static bool same_bytes(const char *key, size_t key_length, const char *given,
                       size_t given_length) {
    unsigned difference = key_length != given_length;
    for (size_t i = 0; i < given_length; i++)
        difference |= (unsigned)(unsigned char)key[i % key_length] ^ (unsigned char)given[i];
    return difference == 0;
}

bool keys_accept(const struct keys *keys, const char *authorization) {
    if (!keys->required)
        return true;
    if (!authorization || strncasecmp(authorization, "Bearer ", 7) != 0)
        return false;
    const char *given = authorization + 7 + strspn(authorization + 7, " ");
    const char *at = keys->text.data, *key;
    size_t length, given_length = strlen(given);
    bool found = false;
    /* All keys are compared, so that it always takes the same time. */
    while ((key = next_key(&at, &length)) != NULL)
        found |= same_bytes(key, length, given, given_length);
    return found;
}

void keys_free(struct keys *keys) {
    buffer_free(&keys->text);
    keys->required = false;
}
