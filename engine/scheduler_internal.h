/* scheduler_internal.h - what engine/scheduler*.c share: the clients' side in
 * scheduler.c, the thread that runs the model in scheduler_thread.c. */
#ifndef ALPACA_ENGINE_SCHEDULER_INTERNAL_H
#define ALPACA_ENGINE_SCHEDULER_INTERNAL_H

#include "base/arena.h"
#include "base/pool.h"
#include "engine/request_internal.h"
#include "engine/scheduler.h"
#include "engine/slots.h"
#include "model/forward.h"
#include "model/forward.h"
#include "model/kv_cache.h"

#include <pthread.h>

/* A token of a prompt whose log-probabilities are wanted. */
struct scored {
    struct generation *generation;
    int place; /* among the generation's tokens */
};

/* What one step does, drawn from one arena at creation. */
struct step {
    int32_t *ids;              /* [slots + prompt_rows] */
    struct span *spans;        /* [slots] */
    int rows, span_count, prompt_rows;
    struct generation **heard; /* [slots] those whose next token this step decides */
    int *logit_rows;           /* [slots] the batch row of each of them */
    int heard_count;
    float *logits;             /* [slots, vocab] */
    int32_t *tokens;           /* [slots] what was drawn */
    enum finish *finishes;     /* [slots] */
    struct scored *scored;     /* [prompt_rows] */
    int *scored_rows;          /* [prompt_rows] the batch row that foretells each of them */
    int scored_count, scored_done;
    struct slot_choice *copies; /* [slots] beginnings to take over from other slots first */
    int copy_count;
};

/* Locking rule: `lock` guards the members below it. The lists of running and
 * waiting generations change under it, on the scheduler's thread or (waiting
 * only) in submit; the thread may read `running` without it. Of the slots only
 * the number of free ones needs it. Everything above belongs to the thread
 * alone. No lock is held while a client is told. */
struct scheduler {
    const struct model *model;
    struct scheduler_options options;
    struct pool *pool;
    struct kv_cache cache;
    struct activations activations;
    struct forward_context forward; /* model, pool and activations */
    struct sampler **samplers; /* [workers] */
    int samplers_count;
    struct arena arena;
    struct step step;
    struct scheduler_profile *profile; /* NULL: nobody wants to know */
    uint64_t step_started_ns;
    struct generation *leaving; /* list: out of the batch or the queue, not yet told */
    pthread_t thread;
    bool thread_started;

    pthread_mutex_t lock;
    pthread_cond_t wake;  /* for the thread: a submit or a stop */
    pthread_cond_t ended; /* for stop: `over` */
    struct generation **running; /* [slots] in order of admission */
    int running_count;
    struct slot_book slots;
    struct generation *first_waiting, **last_waiting; /* first come, first served */
    int waiting_count;
    uint64_t steps, prompt_tokens, generated_tokens, finished, last_step_ns;
    uint64_t prefix_queries, prefix_hits;
    bool idle, stopping, over;
    uint64_t deadline_ns; /* of the stop */
};

/* The thread: admits and steps until a stop has been obeyed. */
void *scheduler_main(void *scheduler);

#endif
