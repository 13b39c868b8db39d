/* completion.h - one story being told: tokens from the scheduler become text.
 *
 * A story submits a generation, decodes its tokens as they come, and ends at a
 * stop string, at the model's own end or at a length. The text handed out never
 * ends inside a UTF-8 character or inside what may become a stop string.
 *
 * Ownership: a story belongs to whoever started it, and borrows the
 * engine. Safety: one thread at a time uses a story, except that
 * story_cancel() may be called from any thread while the story lives. on_news
 * runs on the scheduler's thread: it must be quick and may not call story
 * functions.
 */
#ifndef ALPACA_ENGINE_COMPLETION_H
#define ALPACA_ENGINE_COMPLETION_H

#include "base/buffer.h"
#include "base/status.h"
#include "engine/engine.h"
#include "engine/request.h"

#include <stdbool.h>
#include <stddef.h>

enum { STORY_MAX_STOPS = 4, STORY_MAX_STOP_BYTES = 256 };

struct story;

struct story_request {
    const struct token_list *prompt; /* from engine_read_prompt(); copied */
    bool continues;                  /* see story_continues() */
    int max_tokens;                  /* cut to what the model has room for */
    struct sampling sampling;
    bool logprobs;        /* as in generation.h, these three */
    int top_logprobs;
    bool prompt_logprobs;
    const char *stops[STORY_MAX_STOPS]; /* not empty, at most STORY_MAX_STOP_BYTES; copied */
    int stop_count;
    bool every_token; /* on_news for every token, not only at the end */
    void (*on_news)(void *context, bool over); /* over: nothing more comes; may be NULL */
    void *context;
    /* Told of the time between tokens, on the scheduler's thread; may be NULL. */
    void (*on_gap)(void *gap_context, uint64_t gap_ns, int tokens);
    void *gap_context;
};

/* How a story ended, as the API names it. */
enum story_end {
    STORY_RUNNING,
    STORY_STOP,      /* the model ended it, or a stop string came */
    STORY_LENGTH,    /* max_tokens, or the model's last position */
    STORY_CANCELLED, /* story_cancel() */
    STORY_SHUTDOWN,  /* the scheduler was stopped */
};
const char *story_end_name(enum story_end end); /* "stop", "length", … */

/* Whether a completion of `prompt[bytes]` keeps its leading space: not after nothing or a space. */
bool story_continues(const char *prompt, size_t bytes);

/* Starts telling. News may have come before this returns, so look with story_advance() before
 * waiting for on_news. Errors are those of scheduler_submit(). */
enum status story_start(struct story **story, struct engine *engine,
                        const struct story_request *request, struct error *err);
/* Decodes what has come since; *end is STORY_RUNNING while more may come. */
enum status story_advance(struct story *story, enum story_end *end, struct error *err);
/* The completion so far. The bytes that are certain only ever grow, and at the end they are all
 * there is. The pointer is valid until the next story_advance(). */
const char *story_text(const struct story *story, size_t *bytes);
/* Tokens that the text so far took; a final eos and tokens after a stop string do not count. */
int story_tokens(const struct story *story);
/* Of a story with `logprobs`: a token, and what came of it. */
struct story_token {
    int32_t id;
    size_t begins; /* where its text does, in the story's */
    bool at_start; /* its leading space, if it has one, was left out */
    const struct token_logprobs *logprobs; /* valid until story_free() */
};
/* Tokens whose text, at least its beginning, is in story_text(); once the model has ended the
 * story, all. */
int story_listed(const struct story *story);
struct story_token story_token(const struct story *story, int index); /* below story_listed() */
/* With `prompt_logprobs`, of the prompt's token `place` from 1 on, once there is a token or an
 * end. */
const struct token_logprobs *story_prompt_logprobs(const struct story *story, int place);

/* Times as far as known; complete when the story has ended. */
struct generation_usage story_usage(const struct story *story);
void story_cancel(struct story *story);
void story_free(struct story *story); /* cancels what still runs; NULL is allowed */

#endif
