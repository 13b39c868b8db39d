/* request.h - one story being told: what was asked for, and its tokens so far.
 *
 * Ownership: two references, the client's (whoever submitted) and the
 * scheduler's; the memory goes when both are released. All token memory, and
 * that of log-probabilities when they are asked for, is allocated at creation,
 * so a slow reader never stalls decoding.
 *
 * Safety: the client's functions below may be called from any thread, also
 * while the scheduler adds tokens. `on_news` runs on the scheduler's thread
 * and must be quick and never block or call back into the scheduler, except
 * that generation_take(), generation_cancel() and generation_usage() are fine.
 */
#ifndef ALPACA_ENGINE_REQUEST_H
#define ALPACA_ENGINE_REQUEST_H

#include "base/status.h"
#include "model/sampler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct generation;

enum finish {
    FINISH_NONE,      /* still waiting or running */
    FINISH_STOP,      /* the model ended the story (eos) */
    FINISH_LENGTH,    /* max_tokens reached, or the model's last position */
    FINISH_CANCELLED, /* by generation_cancel() */
    FINISH_SHUTDOWN,  /* the scheduler was stopped */
};

struct generation_request {
    const int32_t *prompt; /* copied; at least one id, at most positions - 1 */
    int prompt_count;
    int max_tokens; /* at least 1; cut to positions - prompt_count */
    struct sampling sampling;
    bool logprobs;        /* keep each token's log-probability (sampler.h), ... */
    int top_logprobs;     /* ... those of so many likeliest tokens, up to TOP_LOGPROBS_MAX, ... */
    bool prompt_logprobs; /* ... and those of the prompt, which then is computed as a whole, not
                             started from what the kv cache has */
    /* Called after every new token and at the end; may be NULL. */
    void (*on_news)(void *context);
    void *context;
};

struct generation_usage {
    int prompt_tokens, completion_tokens; /* the final eos is not counted */
    uint64_t queued_ns;                   /* submitted until admitted to the batch */
    uint64_t prefill_ns;                  /* admitted until the first token */
    uint64_t decode_ns;                   /* first token until the last */
};

/* Copies up to `max` tokens that were not yet taken to `ids`, returns how many;
 * *finish is set once all tokens have been taken, else FINISH_NONE. */
int generation_take(struct generation *generation, int32_t *ids, int max, enum finish *finish);
/* Of a token that was taken, by its place among those told; only when `logprobs` were asked for.
 * Never changes; valid until the release. */
const struct token_logprobs *generation_logprobs(const struct generation *generation, int place);
/* Of a token of the prompt but its first, once a token was taken or the story ended by itself;
 * only when `prompt_logprobs` were asked for. */
const struct token_logprobs *generation_prompt_logprobs(const struct generation *generation,
                                                        int place);
/* Takes effect within one step, for waiting generations too. Harmless when over. */
void generation_cancel(struct generation *generation);
/* After this returns, on_news is not running and is never called again. Not from on_news. */
void generation_detach(struct generation *generation);
struct generation_usage generation_usage(const struct generation *generation);
/* Gives the client's reference back; cancels and detaches what is still running. */
void generation_release(struct generation *generation);

#endif
