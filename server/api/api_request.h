/* api_request.h - what a client asks for: from a JSON body to checked values.
 *
 * One table names every field with its kind and range. Checks, error messages
 * and the OpenAPI description come from it. A wrong value is refused with the
 * field's name and range; nothing is corrected silently.
 *
 * Ownership: a parsed request owns the texts that its fields point to, its token
 * ids and its biases, until api_request_free(). Thread-safe.
 */
#ifndef ALPACA_SERVER_API_API_REQUEST_H
#define ALPACA_SERVER_API_API_REQUEST_H

#include "base/buffer.h"
#include "base/status.h"
#include "engine/completion.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    API_MAX_STORIES = 32, /* of a request; LangChain asks for up to 20 at once */
    API_MAX_TOKENS = 100000, /* of max_tokens; the model's last position ends a story earlier */
};

/* OpenAI's dialects ignore fields that they do not know, because its clients send many; the others
 * refuse them. */
enum api_dialect {
    API_GENERATE = 1,
    API_COMPLETIONS = 2,
    API_CHAT = 4,
    API_OPENAI = API_COMPLETIONS | API_CHAT,
    API_TOKENIZE = 8,
    API_DETOKENIZE = 16,
};

/* The beginning of n stories: a text, or token ids. */
struct api_prompt {
    const char *text; /* NULL: ids */
    size_t bytes;
    struct token_list ids; /* any whole numbers: what the model has is for the engine to say */
};

struct api_request {
    enum api_dialect dialect;
    struct api_prompt prompts[API_MAX_STORIES];
    int prompt_count; /* at least 1; times n or best_of at most API_MAX_STORIES */
    struct sampling sampling; /* with the seed of the first story, and `biases` */
    struct logit_bias *biases;
    bool has_seed;
    int max_tokens, n, best_of; /* best_of is at least n; 0: not given */
    int max_completion_tokens;  /* of a chat, which then is max_tokens too */
    int logprobs; /* how many of the likeliest tokens are listed at each place; -1: no lists */
    bool wants_logprobs; /* of a chat, */
    int top_logprobs;    /* and how many; then `logprobs` says both; -1: not given */
    bool stream, truncate, echo, has_stream_options, include_usage;
    bool capitals; /* restored; otherwise the text has the case of the tokens */
    bool pieces, add_special; /* of /tokenize, whose text is the prompt, as are /detokenize's ids */
    const char *stops[COMPLETION_MAX_STOPS];
    int stop_count;
    struct buffer chat; /* the text of a chat that begins the story */
    struct cJSON *tree; /* the JSON that the texts are a part of */
};

/* Parses a body; an empty one, which may be NULL, means {}. STATUS_INVALID names the field. On
 * success the caller frees the request; on failure there is nothing to free. */
enum status api_request_parse(struct api_request *request, enum api_dialect dialect,
                              const char *body, size_t bytes, struct error *err);
void api_request_free(struct api_request *request); /* a zeroed one is allowed */

/* Appends the JSON schema of a dialect's request body, from the table. Ids are below `vocab`. */
void api_write_schema(struct buffer *out, enum api_dialect dialect, int vocab);

#endif
