/* keys.h - the API keys whose holders may use the service.
 *
 * Ownership: the caller of keys_load() ends them with keys_free(). They are
 * read-only in between, so thread-safe.
 */
#ifndef ALPACA_SERVER_KEYS_H
#define ALPACA_SERVER_KEYS_H

#include "base/buffer.h"
#include "base/status.h"

#include <stdbool.h>

struct keys {
    struct buffer text; /* the file: one key a line, # begins a comment line; lines may end in CR */
    bool required;      /* false without a file: then every request is accepted */
};

/* Reads the file. One without a key is STATUS_INVALID. */
enum status keys_load(struct keys *keys, const char *path, struct error *err);
/* Whether `authorization` (NULL: no such header) is "Bearer " and one of the keys. The time that
 * this takes depends on the header's length, not on how much of it is right. */
bool keys_accept(const struct keys *keys, const char *authorization);
void keys_free(struct keys *keys);

#endif
