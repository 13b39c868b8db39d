/* completion_request_internal.h - what completion_request.c and the answers' files share: the
 * request's state, and the parts that whole answers and streams are both made of. As in
 * completion_request.h, one thread at a time. */
#ifndef ALPACA_SERVER_API_COMPLETION_REQUEST_INTERNAL_H
#define ALPACA_SERVER_API_COMPLETION_REQUEST_INTERNAL_H

#include "engine/completion.h"
#include "server/api/completion_request.h"
#include "server/api/logprobs.h"
#include "server/api/prompt.h"

#include <time.h>

struct choice {
    struct completion completion;
    uint64_t seed;
    size_t sent;    /* bytes of the completion that went into the stream */
    int listed;     /* tokens whose log-probabilities went into the answer, ... */
    size_t list_at; /* ... where in the completion the last of them begins ... */
    size_t offset;  /* ... and at which character of the answer's text that is */
    bool echoed, end_sent;
};

struct completion_request {
    struct completion_host host;
    struct api_request api;
    enum answer_format format;
    struct prompt prompts[API_MAX_STORIES]; /* of api.n choices each, in their order */
    int prompt_tokens;                      /* of all of them */
    struct choice choices[API_MAX_STORIES];
    int count;
    bool opened, closed; /* the stream's first and last event are out */
    uint64_t id;         /* of an OpenAI completion */
    time_t created;
};

/* The prompt that choice `index` goes on from. */
const struct prompt *completion_request_prompt(const struct completion_request *request, int index);

/* Members of a JSON object, without commas around them: "usage"; "model", "usage", "timings". */
void answer_write_usage(const struct completion_request *request, struct buffer *out);
void answer_write_sums(const struct completion_request *request, struct buffer *out);

/* Up to the choices: what every object of a completion begins with. */
void answer_write_completion_head(const struct completion_request *request, struct buffer *out);
/* Takes over *lists; NULL is null. */
void answer_write_choice(int index, const char *text, size_t bytes, struct logprobs *lists,
                         const char *finish_reason, struct buffer *out);

/* Whether log-probabilities were asked for; lists of them; and what goes into those next: the
 * tokens of a choice that its part of the answer so far does not list. */
bool answer_wants_logprobs(const struct completion_request *request);
struct logprobs answer_new_lists(const struct completion_request *request);
void answer_list_tokens(struct choice *choice, struct logprobs *lists);

#endif
