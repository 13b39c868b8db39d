/* keys.h - the API keys that may use the service.
 *
 * Ownership: keys_load()'s caller frees them. Read-only afterwards, so
 * thread-safe.
 */
#ifndef ALPACA_SERVER_KEYS_H
#define ALPACA_SERVER_KEYS_H

#include "base/buffer.h"
#include "base/status.h"

#include <stdbool.h>

struct keys {
    struct buffer text; /* the file: one key a line, # begins a comment line */
    bool required;      /* whether there is a file at all */
};

enum status keys_load(struct keys *keys, const char *path, struct error *err);
/* Whether `authorization` is "Bearer " and one of the keys. The time taken depends on the
 * header's length, not on how much of it is right. NULL is no header. */
bool keys_accept(const struct keys *keys, const char *authorization);
void keys_free(struct keys *keys);

#endif
