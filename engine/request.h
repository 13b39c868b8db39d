/* request.h - one completion as the scheduler sees it: token ids in, token ids out.
 *
 * Ownership: two references, the client's (whoever submitted) and the
 * scheduler's; the memory goes when both are released. All memory for tokens,
 * and for log-probabilities when they are asked for, is allocated at creation,
 * so a slow reader never stalls decoding. Tokens that were published never
 * change: readers use them in place.
 *
 * Safety: the client's functions below may be called from any thread, also
 * while the scheduler adds tokens, and take no lock but for request_detach().
 * `on_output` runs on the scheduler's thread, must be quick and never block, and
 * may call request_output(), request_cancel() and request_usage().
 */
#ifndef ALPACA_ENGINE_REQUEST_H
#define ALPACA_ENGINE_REQUEST_H

#include "base/status.h"
#include "model/sampler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct request;

enum finish_reason {
    FINISH_NONE,      /* still waiting or running */
    FINISH_STOP,      /* the model ended the text (eos), or a stop string came */
    FINISH_LENGTH,    /* max_tokens reached, or the model's last position */
    FINISH_CANCELLED, /* by request_cancel() */
    FINISH_SHUTDOWN,  /* the scheduler was stopped */
    FINISH_REASONS,
};
/* As the API names it: "running", "stop", "length", ... */
const char *finish_reason_name(enum finish_reason finish);

/* How full the queue may be for a request to join it. */
enum queue_share {
    QUEUE_ALL,    /* any place will do */
    QUEUE_HALF,   /* half of the places are left to others: for one more of the same client's */
    QUEUE_BEYOND, /* never full: for the next of a client's that has no other there any more, as it
                     would wait in vain if others always came first */
};

struct request_params {
    const int32_t *prompt; /* copied; at least one id, at most positions - 1 */
    int prompt_count;
    int max_tokens; /* cut to positions - prompt_count; 0: the prompt is computed, no more */
    struct sampling sampling; /* its biases are copied */
    enum queue_share queue_share;
    int to_follow;  /* announces so many more of the same client's: a stop waits for them, too */
    bool announced; /* this is one of those; scheduler_retract() takes back what does not come */
    bool logprobs;        /* keep each token's log-probability (sampler.h), ... */
    int top_logprobs;     /* ... those of so many likeliest tokens, up to TOP_LOGPROBS_MAX, ... */
    bool prompt_logprobs; /* ... and those of the prompt, which then is computed as a whole, not
                             started from what the kv cache has */
    /* Called after every new token and at the end, with the reason once there is one; `gap_ns` is
     * the time since the token before, 0 when there is none. May be NULL. */
    void (*on_output)(void *context, enum finish_reason finish, uint64_t gap_ns);
    void *context;
};

struct request_usage {
    int prompt_tokens, completion_tokens; /* the final eos is not counted */
    int cached_tokens; /* of the prompt: those that the kv cache had already */
    uint64_t queued_ns;                   /* submitted until admitted to the batch */
    uint64_t prefill_ns;                  /* admitted until the first token */
    uint64_t decode_ns;                   /* first token until the last */
};

struct request_output {
    const int32_t *ids; /* [count] valid until the release */
    int count;
    enum finish_reason finish; /* when not FINISH_NONE, these are all ids */
};

/* The tokens generated so far. */
struct request_output request_output(const struct request *request);
/* Of generated token `index`, below request_output()'s count; only when `logprobs` were asked
 * for. Never changes; valid until the release. */
const struct token_logprobs *request_logprobs(const struct request *request, int index);
/* Of the prompt's token `index` from 1 on, once there is output or the request ended by itself;
 * only when `prompt_logprobs` were asked for. */
const struct token_logprobs *request_prompt_logprobs(const struct request *request, int index);
/* Takes effect within one step, for waiting requests too. Harmless when over. */
void request_cancel(struct request *request);
/* After this returns, on_output is not running and is never called again. Not from on_output. */
void request_detach(struct request *request);
/* Times as far as known; complete when the request has ended. */
struct request_usage request_usage(const struct request *request);
/* Gives the client's reference back; cancels and detaches what is still running. */
void request_release(struct request *request);

#endif
