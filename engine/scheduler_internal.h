/* scheduler_internal.h - what engine/scheduler*.c share: the clients' side in
 * scheduler.c, the thread that runs the model in scheduler_thread.c.
 *
 * Ownership: the scheduler owns all of this and one reference to each request in
 * its lists. Thread-safety: see the locking rule at struct scheduler.
 */
#ifndef ALPACA_ENGINE_SCHEDULER_INTERNAL_H
#define ALPACA_ENGINE_SCHEDULER_INTERNAL_H

#include "base/arena.h"
#include "base/pool.h"
#include "engine/draft.h"
#include "engine/request_internal.h"
#include "engine/scheduler.h"
#include "engine/slots.h"
#include "model/forward.h"
#include "model/kv_cache.h"

#include <pthread.h>

/* A token of a prompt whose log-probabilities are wanted. */
struct prompt_logprob {
    struct request *request;
    int index; /* among the request's tokens */
};

/* A token that is sampled in a step: the one behind `ahead` proposals of its request. */
struct sample {
    struct request *request;
    int ahead;
    int32_t token; /* -1 for eos or nothing */
    enum finish_reason finish;
};

enum { MAX_PROPOSED = 96 }; /* proposals of a step, of all requests together */

/* What one step does, drawn from one arena at creation. */
struct step {
    uint64_t begun_ns;
    struct proposal *proposals;     /* [slots] of requests that are generating */
    int proposal_count;
    int32_t *ids;                   /* [slots + prefill_chunk + MAX_PROPOSED] */
    struct span *spans;             /* [slots] */
    int rows, span_count;
    int prefill_rows;               /* those of the rows that are prompts' */
    struct sample *samples;         /* [slots + MAX_PROPOSED] */
    int *sample_rows;               /* [slots + MAX_PROPOSED] the batch row of each of them */
    int sample_count;
    float *logits;                  /* [slots + MAX_PROPOSED, vocab] */
    struct prompt_logprob *prompt_logprobs; /* [prefill_chunk] */
    int *prompt_logprob_rows;       /* [prefill_chunk] the batch row whose logits give each */
    int prompt_logprob_count, prompt_logprobs_done;
    struct slot_choice *choices; /* [slots] of the requests that were admitted to this step */
    int choice_count;
};

/* Locking rule: `lock` guards the members below it. The lists of running and
 * waiting requests change under it, on the scheduler's thread or (waiting
 * only) in submit; the thread may read `running` without it. Of the slots only
 * the number of free ones needs it. Everything above belongs to the thread
 * alone, but for the atomics. The lock is not held while on_output runs. A step takes it once,
 * and once more when requests have ended in it. */
struct scheduler {
    const struct model *model;
    struct scheduler_options options;
    struct pool *pool;
    struct kv_cache cache;
    struct draft *draft; /* NULL: none */
    struct activations activations;
    struct forward_context forward; /* model, pool and activations */
    struct sampler **samplers; /* [workers] */
    int samplers_count;
    struct arena arena;
    struct step step;
    struct scheduler_profile *profile; /* NULL: nobody wants to know */
    uint64_t step_started_ns;
    struct request *leaving; /* list: out of the batch or the queue, the end not yet emitted */
    /* Others read these. */
    _Atomic uint64_t steps, prompt_tokens, generated_tokens, last_step_ns, proposed, accepted;
    pthread_t thread; /* unless stepped */
    bool started;

    pthread_mutex_t lock;
    pthread_cond_t wake;  /* for the thread: a submit, a stop, or a request that will not come */
    pthread_cond_t ended; /* for stop: `over` */
    struct request **running; /* [slots] in order of admission */
    int running_count;
    struct slots slots;
    struct request *first_waiting, **last_waiting; /* first come, first served */
    int waiting_count;
    int announced; /* requests that have not come yet */
    uint64_t finished, prefix_queries, prefix_hits;
    bool idle, stopping, over;
    uint64_t deadline_ns; /* of the stop */
};

/* Whether there may be more requests: with the lock held. */
bool scheduler_expects(const struct scheduler *scheduler);
/* The thread: admits and steps until a stop has been obeyed. */
void *scheduler_main(void *scheduler);

#endif
