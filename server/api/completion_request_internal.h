/* completion_request_internal.h - what completion_request.c and the answers' files share: the
 * request's state, and the parts that whole answers and streams are both made of.
 *
 * Ownership: a request owns its prompts and candidates, which are one block of memory with it; an
 * answer_choice borrows what it points to. As in completion_request.h, one thread at a time.
 */
#ifndef ALPACA_SERVER_API_COMPLETION_REQUEST_INTERNAL_H
#define ALPACA_SERVER_API_COMPLETION_REQUEST_INTERNAL_H

#include "engine/completion.h"
#include "server/api/completion_request.h"
#include "server/api/logprobs.h"
#include "server/api/prompt.h"

#include <stdatomic.h>
#include <time.h>

/* A candidate to be one of the answer's choices; without best_of each is one. */
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
    int prompt_tokens;   /* of all prompts */
    bool opened, closed; /* the stream's first and last event are out */
    uint64_t id;         /* of an OpenAI completion */
    time_t created;
    struct prompt *prompts; /* [api.prompt_count] behind the candidates */
    int per_prompt;         /* candidates of each prompt: api.n, or api.best_of when that is more */
    int ranked[API_MAX_STORIES]; /* of prompt p from p * per_prompt on: its candidates, the best
                                    first once they have been compared */
    bool compared[API_MAX_STORIES]; /* by prompt */
    /* The first `started` candidates have been submitted. It only grows, after one is complete;
     * `cancelled` is looked at after that, so that none escapes a cancellation. */
    atomic_int started;
    atomic_bool cancelled;
    int count;
    struct choice candidates[]; /* [count] prompt by prompt */
};

/* Whether more is generated than is sent. */
bool completion_request_compares(const struct completion_request *request);
/* The answer has api.n choices of each prompt, numbered prompt by prompt: how many they are, the
 * prompt that choice `index` goes on from, and the choice itself, NULL as long as it is not
 * certain which candidate it will be. */
int completion_request_choices(const struct completion_request *request);
const struct prompt *completion_request_prompt(const struct completion_request *request, int index);
struct choice *completion_request_choice(struct completion_request *request, int index);

/* Members of a JSON object, without commas around them: "usage"; "model", "system_fingerprint",
 * "usage", "timings". */
void answer_write_usage(const struct completion_request *request, struct buffer *out);
void answer_write_sums(const struct completion_request *request, struct buffer *out);

/* Up to the choices: what every object of a completion begins with. */
void answer_write_completion_head(const struct completion_request *request, struct buffer *out);
/* What stands for a text in the dialect: a part of a stream, or all. */
enum answer_part { ANSWER_WHOLE, ANSWER_FIRST, ANSWER_NEXT, ANSWER_LAST };
/* One choice's part of the answer. */
struct answer_choice {
    enum answer_part part;
    int index;
    const char *text;
    size_t bytes;
    struct logprobs *lists;     /* NULL: null */
    const struct choice *ended; /* says why it ended and what its seed was; NULL: it goes on */
};
/* Takes over choice->lists. */
void answer_write_choice(const struct completion_request *request,
                         const struct answer_choice *choice, struct buffer *out);

/* Whether log-probabilities were asked for, and those of the prompt too; lists of them; and what
 * goes into those next: the tokens of a choice that its part of the answer so far does not list. */
bool answer_wants_logprobs(const struct completion_request *request);
bool answer_lists_prompt(const struct completion_request *request);
struct logprobs answer_new_lists(const struct completion_request *request);
void answer_list_tokens(struct choice *choice, struct logprobs *lists);

#endif
