/* request_internal.h - the scheduler's side of a generation.
 *
 * Only generation.c and scheduler*.c include this.
 *
 * Locking rule: `lock` guards what both sides see: `produced`, `finish`, the
 * times. Only the scheduler's thread changes those, so it may read them
 * without the lock. Tokens below `produced` and their log-probabilities never
 * change. `news_lock` is held
 * while on_news runs, and never together with `lock`, so that on_news may take
 * tokens.
 */
#ifndef ALPACA_ENGINE_REQUEST_INTERNAL_H
#define ALPACA_ENGINE_REQUEST_INTERNAL_H

#include "engine/request.h"

#include <pthread.h>
#include <stdatomic.h>

struct generation {
    atomic_int references; /* the client's and the scheduler's */
    atomic_bool cancelled;

    pthread_mutex_t news_lock;
    void (*on_news)(void *context); /* under news_lock */
    void *context;

    pthread_mutex_t lock;
    int produced; /* tokens generated */
    enum finish finish;
    uint64_t submitted_ns, admitted_ns, first_ns, last_ns; /* 0: not yet */
    int taken; /* tokens that the client has; the client's, under `lock` */

    struct sampling sampling; /* fixed from here on */
    int prompt_count, max_tokens;
    int top_logprobs;
    bool prompt_logprobs;
    struct token_logprobs *logprobs; /* of each of `tokens`, behind them; NULL: not asked for */

    struct generation *next; /* the scheduler's, while waiting or leaving */
    enum finish leaves_as;   /* while leaving */
    int slot;                /* of the kv cache, while running */
    int fed;                 /* tokens whose rows are in the kv cache */

    int32_t tokens[]; /* [prompt_count + max_tokens] the prompt, then what was generated */
};

/* With both references; `max_tokens` replaces the request's. */
enum status generation_create(struct generation **generation,
                              const struct generation_request *request, int max_tokens,
                              struct error *err);
/* The batch takes it in. */
void generation_admit(struct generation *generation, uint64_t now_ns);
/* Adds `token` unless it is negative, ends it unless `finish` is FINISH_NONE, tells the client. */
void generation_deliver(struct generation *generation, int32_t token, enum finish finish,
                        uint64_t now_ns);
/* Gives one reference back. */
void generation_drop(struct generation *generation);

#endif
