/* logprobs.h - log-probabilities as OpenAI lists them, token by token.
 *
 * With completions these are four lists of the same length: the tokens as they
 * are shown, their log-probabilities, the likeliest tokens of each place, and
 * where in the answer's text each token begins, in characters. With chat it is
 * one list, of objects that have all of that but the place.
 *
 * Ownership: start from {.tokenizer, .top, .chat}; logprobs_write() or logprobs_free()
 * gives the memory back. Memory that ran out shows in what is written to.
 * One thread at a time.
 */
#ifndef ALPACA_SERVER_API_LOGPROBS_H
#define ALPACA_SERVER_API_LOGPROBS_H

#include "base/buffer.h"
#include "engine/completion.h"
#include "server/api/prompt.h"

#include <stdbool.h>
#include <stddef.h>

struct logprobs {
    const struct tokenizer *tokenizer;
    int top;   /* of so many likeliest tokens; 0: no such list */
    bool chat; /* one list, in `tokens` */
    int count; /* tokens so far */
    struct buffer tokens, values, tops, offsets;
};

/* A token whose text begins at character `offset` of the answer. Without `logprobs` its values
 * are null. */
void logprobs_add(struct logprobs *lists, const struct completion_token *token, size_t offset);
/* All tokens of a prompt that begins the answer; the first is null, as nothing the client has
 * said comes before it. The completion must have a token or an end. */
void logprobs_add_prompt(struct logprobs *lists, const struct prompt *prompt,
                         const struct completion *completion);
/* Appends the object, and frees the lists. */
void logprobs_write(struct logprobs *lists, struct buffer *out);
void logprobs_free(struct logprobs *lists);

#endif
