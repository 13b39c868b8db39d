/* completion.h - the text of one request: token ids from the scheduler become UTF-8.
 *
 * A completion submits a request, decodes its tokens as they come, and ends at a
 * stop string, at the model's own end or at a length. The model writes lower case;
 * capitals are restored where they are asked for. The text handed out never ends
 * inside a UTF-8 character, inside what may become a stop string, or, with
 * capitals, inside a word that goes on.
 *
 * Ownership: a completion is a value of whoever started it; it borrows the
 * engine. Safety: one thread at a time uses it, except that
 * request_cancel() of its request may be called from any thread while it lives.
 */
#ifndef ALPACA_ENGINE_COMPLETION_H
#define ALPACA_ENGINE_COMPLETION_H

#include "base/buffer.h"
#include "base/status.h"
#include "engine/engine.h"
#include "engine/request.h"
#include "tokenizer/truecase.h"

#include <stdbool.h>
#include <stddef.h>

enum { COMPLETION_MAX_STOPS = 4, COMPLETION_MAX_STOP_BYTES = 256 };

struct completion_params {
    struct request_params request; /* its prompt from engine_read_prompt() */
    bool continues;                /* see completion_continues() */
    bool capitals;                 /* restores them (tokenizer/truecase.h) */
    const char *before;            /* what the completion goes on from, for the capitals */
    size_t before_bytes;
    /* Not empty, at most COMPLETION_MAX_STOP_BYTES; the case of letters does not matter. */
    const char *stops[COMPLETION_MAX_STOPS];
    int stop_count;
};

/* A token, and what came of it. */
struct completion_token {
    int32_t id;
    size_t begins; /* where its text does, in the completion's */
    bool at_start; /* its leading space, if it has one, was left out */
    const struct token_logprobs *logprobs; /* valid until completion_free() */
};

/* Start from {0}. */
struct completion {
    struct request *request;   /* NULL: not started */
    enum finish_reason finish; /* FINISH_NONE while more may come */
    int decoded; /* tokens that the text took; a final eos and what follows a stop string do not
                    count */
    struct buffer text; /* as the tokens are */
    size_t certain; /* bytes of the text that no stop string can take back; at the end all */
    bool capitals;
    struct truecaser truecaser;
    size_t cased_from;   /* bytes of the text that the truecaser has taken */
    struct buffer cased; /* and what it has given: the same bytes but for the case of letters */
    struct completion_token *tokens; /* [decoded] NULL without logprobs */
    struct text_stream stream;
    bool cut; /* by a stop string */
    char *stop_texts; /* in lower case, each with a NUL */
    const char *stops[COMPLETION_MAX_STOPS];
    int stop_count;
};

/* Whether a completion of `prompt[bytes]` keeps its leading space: not after nothing or a space. */
bool completion_continues(const char *prompt, size_t bytes);

/* Submits the request. Output may come before this returns, so look with completion_advance()
 * before waiting for on_output. Errors are those of scheduler_submit(). */
enum status completion_start(struct completion *completion, struct engine *engine,
                             const struct completion_params *params, struct error *err);
/* Decodes what has come since; sets `finish` at the end. */
enum status completion_advance(struct completion *completion, struct error *err);
/* The text so far, *bytes of it certain: these only ever grow. The pointer is valid until the
 * next completion_advance(). `text` of the completion has the same characters at the same places,
 * in the case of its tokens. */
const char *completion_text(const struct completion *completion, size_t *bytes);
/* With `logprobs`: tokens whose text, at least its beginning, is in completion_text(); once the
 * model has ended the completion, all. */
int completion_listed(const struct completion *completion);
void completion_free(struct completion *completion); /* cancels what still runs */

#endif
