/* scheduler.h - runs many requests at once: admission, continuous batching, cancellation.
 *
 * One thread runs steps: the scheduler's own, or where there is none (`stepped`)
 * its user's. Each step takes one row from every running
 * request and a bounded number of prompt tokens (a chunk), so
 * that a long prompt never stalls the others. First come, first served. A
 * finished or cancelled request leaves in the same step and its slot is
 * refilled in the next. A prompt that begins like a sequence in the kv cache
 * starts from there (slots.h), unless its log-probabilities are wanted.
 * No memory is allocated in a step.
 *
 * Ownership: the scheduler owns its thread, kv cache, activations, samplers
 * and the compute pool; it borrows the model and its draft.
 * Safety: every function may be called from any thread, except destroy; of a
 * stepped scheduler, all by one thread.
 */
#ifndef ALPACA_ENGINE_SCHEDULER_H
#define ALPACA_ENGINE_SCHEDULER_H

#include "base/status.h"
#include "engine/request.h"
#include "model/activations.h"
#include "model/model.h"

struct scheduler;

struct scheduler_options {
    int slots;       /* requests running at once */
    int queue;       /* requests waiting at most */
    int threads;     /* compute threads; 0 for as many as the process may use */
    int prefill_chunk; /* prompt tokens per step at most */
    bool stepped; /* starts no thread: it runs in scheduler_step() and scheduler_stop() */
    const char *draft_choice; /* which model is to be the draft, said to engine_open() */
    const struct model *draft; /* proposes tokens (draft.h) to an INT8 model; NULL: nothing does */
    int draft_tokens;  /* so many at a time for each request; 0: as many as are worth their while */
};

struct scheduler_stats {
    int running, waiting;
    uint64_t steps, generated_tokens, finished;
    uint64_t prompt_tokens;  /* read, that is computed */
    uint64_t prefix_queries; /* prompt tokens of all requests admitted ... */
    uint64_t prefix_hits;    /* ... and those of them that were in the kv cache already */
    uint64_t proposed;       /* by the draft ... */
    uint64_t accepted;       /* ... and those of them that were right */
    uint64_t last_step_ns; /* clock_now_ns() at the end of the last step, or when it went idle */
    bool idle, stopping;
};

/* Where the time of the steps went, on the scheduler's thread. What the parts leave of the
 * total is drafting, admission, bookkeeping and the output to clients. */
struct scheduler_profile {
    uint64_t steps;
    uint64_t total_ns;
    uint64_t part_ns[FORWARD_PARTS];
    uint64_t sampling_ns;
    uint64_t waiting_ns; /* for other compute threads; counted in its part as well */
    uint64_t barriers;   /* pool_barriers() of the steps */
};

enum status scheduler_create(struct scheduler **scheduler, const struct model *model,
                             const struct scheduler_options *options, struct error *err);
/* Queues a request. STATUS_BUSY: the queue is full. STATUS_STOPPED: shutting down, and the request
 * was not announced, or the stop's time is over. STATUS_INVALID: prompt ids, length or settings out
 * of range. */
enum status scheduler_submit(struct scheduler *scheduler, const struct request_params *params,
                             struct request **request, struct error *err);
/* So many of the requests that were announced will not come. */
void scheduler_retract(struct scheduler *scheduler, int count);
/* Of a stepped scheduler: one step, which calls on_output. False when there was nothing to do. */
bool scheduler_step(struct scheduler *scheduler);
/* Whether a submit would find a place now, during a stop that of an announced request; a hint that
 * costs no tokenizing. */
bool scheduler_has_room(struct scheduler *scheduler, enum queue_share share);
struct scheduler_stats scheduler_stats(struct scheduler *scheduler);
/* Adds the times of all steps from now on to *profile; NULL ends it. Only while the scheduler
 * is idle, and *profile is read only then. */
void scheduler_measure(struct scheduler *scheduler, struct scheduler_profile *profile);

/* Refuses new work; waiting and running requests go on for at most
 * grace_ms, then end with FINISH_SHUTDOWN. Returns when none is left. */
void scheduler_stop(struct scheduler *scheduler, int grace_ms);
void scheduler_destroy(struct scheduler *scheduler); /* stops at once first; NULL is allowed */

#endif
