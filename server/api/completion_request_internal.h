/* completion_request_internal.h - what server/telling*.c share: one telling's state, and the parts that whole
 * answers and streams are both made of. */
#ifndef ALPACA_SERVER_API_COMPLETION_REQUEST_INTERNAL_H
#define ALPACA_SERVER_API_COMPLETION_REQUEST_INTERNAL_H

#include "server/api/completion_request.h"
#include "server/api/logprobs.h"
#include "server/api/prompt.h"

#include <time.h>

struct told {
    struct story *story;
    uint64_t seed;
    enum story_end end;
    size_t sent;      /* bytes of the completion that went into the stream */
    int listed;       /* tokens whose log-probabilities went into the answer, ... */
    size_t list_at;   /* ... where in the completion the last of them begins ... */
    size_t offset;    /* ... and at which character of the answer's text that is */
    bool echoed, end_sent;
};

struct completion_request {
    struct engine *engine;
    struct api_request request;
    enum answer_format form;
    struct prompt prompts[API_MAX_STORIES]; /* of request.n stories each, in their order */
    int prompt_tokens;                      /* of all of them */
    struct told stories[API_MAX_STORIES];
    int count;
    bool opened, closed; /* the stream's first and last event are out */
    uint64_t id;         /* of an OpenAI completion */
    time_t created;
};

/* The prompt that story `index` goes on from. */
const struct prompt *telling_prompt(const struct completion_request *telling, int index);

/* Members of a JSON object, without the commas around them: "usage"; "model", "usage", "timings". */
void answer_write_usage(const struct completion_request *telling, struct buffer *out);
void answer_write_sums(const struct completion_request *telling, struct buffer *out);

/* Up to the choices: what every object of a completion begins with. */
void answer_write_completion_head(const struct completion_request *telling, struct buffer *out);
/* Takes over *lists; NULL is null. */
void answer_write_choice(int index, const char *text, size_t bytes, struct logprobs *lists,
                          const char *finish_reason, struct buffer *out);

/* Whether log-probabilities were asked for; lists of them; and what goes into those next: the
 * tokens of a story that its part of the answer so far does not list. */
bool telling_wants_lists(const struct completion_request *telling);
struct logprobs telling_new_lists(const struct completion_request *telling);
void telling_list_news(struct told *told, struct logprobs *lists);

#endif
