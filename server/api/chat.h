/* chat.h - the messages of a chat, of which the user's last one begins a story.
 *
 * The model was never taught to talk, so nothing else in them has an effect.
 *
 * Ownership: the caller owns what is written. Thread-safe: nothing here is shared.
 */
#ifndef ALPACA_SERVER_API_CHAT_H
#define ALPACA_SERVER_API_CHAT_H

#include "base/buffer.h"
#include "base/status.h"

struct cJSON;

/* Appends the text of the user's last message; its parts, if it has such, are joined. Errors name
 * "messages": no message of the user, wrong shapes, roles that do not exist, and parts of the
 * last message that are no text, since the story would go on without them. */
enum status chat_read_messages(const struct cJSON *messages, struct buffer *text,
                               struct error *err);
/* Appends the schema of such messages, without its braces. */
void chat_write_schema(struct buffer *out);

#endif
