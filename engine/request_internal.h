/* request_internal.h - the scheduler's side of a request.
 *
 * Only request.c and scheduler*.c include this. Ownership: a request owns its
 * memory, which its last reference frees.
 *
 * Publishing rule: only the scheduler's thread writes. It writes a token, its
 * log-probabilities and the times, then the greater `published` with release
 * order, then `finish` likewise; readers load in the opposite order with acquire
 * order. `output_lock` is held while on_output runs and guards nothing else.
 */
#ifndef ALPACA_ENGINE_REQUEST_INTERNAL_H
#define ALPACA_ENGINE_REQUEST_INTERNAL_H

#include "engine/request.h"

#include <pthread.h>
#include <stdatomic.h>

struct request {
    atomic_int references; /* the client's and the scheduler's */
    atomic_bool cancelled;

    pthread_mutex_t output_lock;
    void (*on_output)(void *context, enum finish_reason finish, uint64_t gap_ns);
    void *context;

    atomic_int published; /* generated tokens that readers may use */
    atomic_int finish;    /* enum finish_reason */
    uint64_t submitted_ns;
    _Atomic uint64_t admitted_ns, first_ns, last_ns; /* 0: not yet */

    struct sampling sampling; /* fixed from here on; its biases are behind the log-probabilities */
    int prompt_count, max_tokens;
    int cached_tokens; /* written before `admitted_ns` */
    int top_logprobs;
    bool prompt_logprobs;
    struct token_logprobs *logprobs; /* of each of `tokens`, behind them; NULL: not asked for */

    struct request *next;          /* the scheduler's, while waiting or leaving */
    enum finish_reason leaving_as; /* while leaving */
    int slot;                      /* of the kv cache, while running */
    int computed;                  /* tokens whose rows are in the kv cache */
    int total;                     /* tokens there are: the prompt and what was generated */
    struct proposal *proposal;     /* of the step under way; NULL: none */

    /* [prompt_count + max_tokens] the prompt, then what was generated; beyond `total` what a draft
     * proposes, which nobody reads but the scheduler's step */
    int32_t tokens[];
};

/* With both references; `max_tokens` replaces that of the params. */
enum status request_create(struct request **request, const struct request_params *params,
                           int max_tokens, struct error *err);
/* Adds the `accepted` tokens that lie behind `total` already and then `token` unless it is
 * negative, ends the request unless `finish` is FINISH_NONE, and calls on_output for each: under
 * one lock, the only one here. */
void request_emit(struct request *request, int accepted, int32_t token, enum finish_reason finish,
                  uint64_t now_ns);
/* Gives one reference back. */
void request_drop(struct request *request);

#endif
