/* prompt.h - what a story begins with, as the client sees it and as the model does.
 *
 * Ownership: a prompt owns its ids, and the text of one that came as ids; it
 * borrows a text that the client sent. Thread-safe: nothing here is shared.
 */
#ifndef ALPACA_SERVER_API_PROMPT_H
#define ALPACA_SERVER_API_PROMPT_H

#include "base/buffer.h"
#include "base/status.h"
#include "engine/engine.h"
#include "server/api/api_request.h"

#include <stdbool.h>
#include <stddef.h>

struct prompt {
    const char *text; /* exactly as it was sent, or what the ids that were sent say; never NULL */
    size_t bytes;
    struct token_list ids; /* what the model reads; begins with bos */
    size_t own;            /* the first of them that is the client's, not our bos */
    bool cut;              /* its beginning was dropped, since it was too long */
    struct buffer decoded;
};

/* Errors are those of engine_read_prompt(). The caller frees the prompt in any case. */
enum status prompt_read(struct prompt *prompt, const struct engine *engine,
                        const struct api_prompt *sent, bool truncate, struct error *err);
void prompt_free(struct prompt *prompt); /* a zeroed one is allowed */

#endif
