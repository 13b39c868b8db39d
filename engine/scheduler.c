#include "engine/scheduler.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/pool.h"
#include "engine/activations.h"
#include "engine/forward.h"
#include "engine/generation_internal.h"
#include "engine/kv_cache.h"
#include "engine/slot_book.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

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
 * the number of free ones needs it. Everything above belongs to the thread alone. No lock is held while a client is told. */
struct scheduler {
    const struct model *model;
    struct scheduler_options options;
    struct pool *pool;
    struct kv_cache cache;
    struct activations activations;
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

/* ---- admission: before each step ------------------------------------------------ */

static void leave(struct scheduler *s, struct generation *generation, enum finish finish) {
    generation->leaves_as = finish;
    generation->next = s->leaving;
    s->leaving = generation;
    s->finished++;
}

static bool is_cancelled(const struct generation *generation) {
    return atomic_load_explicit(&generation->cancelled, memory_order_relaxed);
}

/* Takes out everything that was cancelled or, past the stop's deadline, everything. */
static void remove_ended(struct scheduler *s, bool all) {
    int kept = 0;
    for (int i = 0; i < s->running_count; i++) {
        struct generation *generation = s->running[i];
        if (all || is_cancelled(generation)) {
            slot_book_release(&s->slots, generation->slot);
            leave(s, generation, is_cancelled(generation) ? FINISH_CANCELLED : FINISH_SHUTDOWN);
        } else {
            s->running[kept++] = generation;
        }
    }
    s->running_count = kept;
    struct generation **link = &s->first_waiting;
    while (*link) {
        struct generation *generation = *link;
        if (all || is_cancelled(generation)) {
            *link = generation->next;
            s->waiting_count--;
            leave(s, generation, is_cancelled(generation) ? FINISH_CANCELLED : FINISH_SHUTDOWN);
        } else {
            link = &generation->next;
        }
    }
    s->last_waiting = link;
}

static void admit_waiting(struct scheduler *s, uint64_t now_ns) {
    while (s->slots.free > 0 && s->first_waiting) {
        struct generation *generation = s->first_waiting;
        s->first_waiting = generation->next;
        if (!s->first_waiting)
            s->last_waiting = &s->first_waiting;
        s->waiting_count--;
        generation->next = NULL;
        /* Rows that are in the cache already give no logits: then the first is all we look up. */
        struct slot_choice choice =
            slot_book_take(&s->slots, generation->tokens,
                           generation->prompt_logprobs ? 1 : generation->prompt_count);
        if (choice.source != choice.slot && choice.shared > 0)
            s->step.copies[s->step.copy_count++] = choice;
        generation->slot = choice.slot;
        generation->fed = choice.shared;
        s->prefix_queries += (uint64_t)generation->prompt_count;
        s->prefix_hits += (uint64_t)choice.shared;
        s->running[s->running_count++] = generation;
        generation_admit(generation, now_ns);
    }
}

/* Sleeps while there is nothing to do. False when the scheduler has come to its end. */
static bool prepare_step(struct scheduler *s) {
    pthread_mutex_lock(&s->lock);
    while (s->running_count == 0 && !s->first_waiting && !s->stopping) {
        s->idle = true;
        s->last_step_ns = clock_now_ns();
        pthread_cond_wait(&s->wake, &s->lock);
    }
    s->idle = false;
    uint64_t now_ns = clock_now_ns();
    s->step_started_ns = now_ns;
    remove_ended(s, s->stopping && now_ns >= s->deadline_ns);
    admit_waiting(s, now_ns);
    bool more = s->running_count > 0 || !s->stopping;
    pthread_mutex_unlock(&s->lock);

    /* In the order of admission: a copy may start from a slot that an earlier one filled, and
     * a slot that was given away holds what it held until then. */
    for (int i = 0; i < s->step.copy_count; i++)
        kv_cache_copy(&s->cache, s->step.copies[i].source, s->step.copies[i].slot,
                      s->step.copies[i].shared);
    s->step.copy_count = 0;
    while (s->leaving) {
        struct generation *generation = s->leaving;
        s->leaving = generation->next;
        generation_deliver(generation, -1, generation->leaves_as, now_ns);
        generation_drop(generation);
    }
    return more;
}

/* ---- one step ------------------------------------------------------------------- */

/* Of the generation's next `rows` tokens, which begin at batch row `first`, those that foretell
 * a token of the prompt. */
static void add_scored(struct step *step, struct generation *generation, int first, int rows) {
    for (int i = 0; i < rows && generation->fed + i + 1 < generation->prompt_count; i++) {
        step->scored[step->scored_count] = (struct scored){generation, generation->fed + i + 1};
        step->scored_rows[step->scored_count++] = first + i;
    }
}

/* The generation's next `rows` tokens join the batch. */
static void add_span(struct step *step, struct slot_book *book, struct generation *generation,
                     int rows) {
    int known = generation->prompt_count + generation->produced;
    step->spans[step->span_count++] =
        (struct span){.slot = generation->slot, .first = generation->fed, .rows = rows};
    slot_book_append(book, generation->slot, generation->tokens + generation->fed, rows);
    if (generation->prompt_logprobs)
        add_scored(step, generation, step->rows, rows);
    for (int i = 0; i < rows; i++)
        step->ids[step->rows++] = generation->tokens[generation->fed + i];
    generation->fed += rows;
    if (generation->fed == known) { /* the last known token: its row says what comes next */
        step->heard[step->heard_count] = generation;
        step->logit_rows[step->heard_count++] = step->rows - 1;
    }
}

/* A row of every story under way, then prompts in order of admission as far as they fit. */
static void compose(struct scheduler *s) {
    struct step *step = &s->step;
    int left = s->options.prompt_rows;
    step->rows = step->span_count = step->heard_count = step->scored_count = 0;
    for (int i = 0; i < s->running_count; i++) {
        if (s->running[i]->fed >= s->running[i]->prompt_count)
            add_span(step, &s->slots, s->running[i], 1);
    }
    for (int i = 0; i < s->running_count && left > 0; i++) {
        int unread = s->running[i]->prompt_count - s->running[i]->fed;
        if (unread <= 0) /* none left, also when the loop above fed the last */
            continue;
        int rows = unread < left ? unread : left;
        add_span(step, &s->slots, s->running[i], rows);
        left -= rows;
    }
    step->prompt_rows = s->options.prompt_rows - left;
}

/* A pool task over the scored tokens whose logits are there. */
static void score(void *context, int worker, int workers) {
    struct scheduler *s = context;
    const struct step *step = &s->step;
    size_t vocab = (size_t)s->model->config.vocab, begin, end;
    int count = step->scored_count - step->scored_done;
    pool_slice((size_t)(count < s->options.slots ? count : s->options.slots), 1, worker, workers,
               &begin, &end);
    for (size_t i = begin; i < end; i++) {
        const struct scored *scored = &step->scored[(size_t)step->scored_done + i];
        struct generation *generation = scored->generation;
        sampler_weigh(s->samplers[worker], step->logits + i * vocab);
        generation->logprobs[scored->place] =
            sampler_logprobs(s->samplers[worker], generation->tokens[scored->place],
                             generation->top_logprobs);
    }
}

/* Before the heard rows' logits are there, as many rows at a time as there is memory for. */
static void score_prompts(struct scheduler *s) {
    struct step *step = &s->step;
    step->scored_done = 0;
    while (step->scored_done < step->scored_count) {
        int left = step->scored_count - step->scored_done;
        int count = left < s->options.slots ? left : s->options.slots;
        forward_logits(s->model, s->pool, &s->activations, step->scored_rows + step->scored_done,
                       count, step->logits);
        pool_run(s->pool, score, s);
        step->scored_done += count;
    }
}

static void run_model(struct scheduler *s) {
    struct step *step = &s->step;
    struct batch batch = {.ids = step->ids,
                          .rows = step->rows,
                          .spans = step->spans,
                          .span_count = step->span_count,
                          .cache = &s->cache};
    forward(s->model, s->pool, &s->activations, &batch);
    score_prompts(s);
    if (step->heard_count > 0)
        forward_logits(s->model, s->pool, &s->activations, step->logit_rows, step->heard_count,
                       step->logits);
}

/* A pool task: each worker has its own sampler, and a draw depends on nothing shared. */
static void sample(void *context, int worker, int workers) {
    struct scheduler *s = context;
    struct step *step = &s->step;
    const struct model_config *c = &s->model->config;
    int32_t forbidden[MODEL_UNSPOKEN];
    model_unspoken(c, forbidden);
    size_t begin, end;
    pool_slice((size_t)step->heard_count, 1, worker, workers, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        struct generation *generation = step->heard[i];
        struct sampler *sampler = s->samplers[worker];
        float *logits = step->logits + i * (size_t)c->vocab;
        int known = generation->prompt_count + generation->produced;
        if (generation->logprobs)
            sampler_weigh(sampler, logits);
        step->tokens[i] = sampler_next(sampler, &generation->sampling, logits,
                                       generation->tokens, known, forbidden, MODEL_UNSPOKEN);
        if (generation->logprobs) /* seen by nobody until the token is delivered */
            generation->logprobs[known] =
                sampler_logprobs(sampler, step->tokens[i], generation->top_logprobs);
        step->finishes[i] = step->tokens[i] == c->eos_id ? FINISH_STOP
                            : generation->produced + 1 == generation->max_tokens
                                ? FINISH_LENGTH
                                : FINISH_NONE;
    }
}

static void remove_running(struct scheduler *s, const struct generation *generation) {
    int i = 0;
    while (s->running[i] != generation)
        i++;
    slot_book_release(&s->slots, generation->slot);
    s->running_count--;
    for (; i < s->running_count; i++)
        s->running[i] = s->running[i + 1];
    s->finished++;
}

/* First the books, then the news: a client that sees the end finds its slot free. */
static void deliver(struct scheduler *s) {
    struct step *step = &s->step;
    uint64_t now_ns = clock_now_ns();
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < step->heard_count; i++) {
        if (step->finishes[i] != FINISH_STOP)
            s->generated_tokens++;
        if (step->finishes[i] != FINISH_NONE)
            remove_running(s, step->heard[i]);
    }
    s->prompt_tokens += (uint64_t)step->prompt_rows;
    s->steps++;
    s->last_step_ns = now_ns;
    pthread_mutex_unlock(&s->lock);

    for (int i = 0; i < step->heard_count; i++) {
        int32_t token = step->finishes[i] == FINISH_STOP ? -1 : step->tokens[i];
        generation_deliver(step->heard[i], token, step->finishes[i], now_ns);
        if (step->finishes[i] != FINISH_NONE)
            generation_drop(step->heard[i]);
    }
    if (s->profile)
        s->profile->total_ns += clock_now_ns() - s->step_started_ns;
}

static void run_step(struct scheduler *s) {
    compose(s);
    run_model(s);
    uint64_t ran_ns = s->profile ? clock_now_ns() : 0;
    if (s->step.heard_count > 1)
        pool_run(s->pool, sample, s);
    else
        sample(s, 0, 1); /* not worth waking anybody */
    if (s->profile) {
        s->profile->steps++;
        s->profile->sampling_ns += clock_now_ns() - ran_ns;
    }
    deliver(s);
}

static void *scheduler_main(void *argument) {
    struct scheduler *s = argument;
    while (prepare_step(s)) {
        if (s->running_count > 0)
            run_step(s);
    }
    pthread_mutex_lock(&s->lock);
    s->over = true;
    s->idle = true;
    pthread_cond_broadcast(&s->ended);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- the clients' side ------------------------------------------------------------ */

/* Free slots count too: what waits for them is taken in by the very next step. */
static bool has_room(const struct scheduler *s) {
    return s->waiting_count < s->options.queue + s->slots.free;
}

static enum status check_request(const struct scheduler *s,
                                 const struct generation_request *request, struct error *err) {
    const struct model_config *c = &s->model->config;
    if (request->prompt_count < 1 || request->prompt_count > c->positions - 1)
        return error_set_field(err, STATUS_INVALID, "prompt",
                               "the prompt must have 1 to %d tokens, not %d", c->positions - 1,
                               request->prompt_count);
    for (int i = 0; i < request->prompt_count; i++) {
        if (request->prompt[i] < 0 || request->prompt[i] >= c->vocab)
            return error_set_field(err, STATUS_INVALID, "prompt",
                                   "token ids must be 0 to %d, not %d", c->vocab - 1,
                                   request->prompt[i]);
    }
    if (request->max_tokens < 1)
        return error_set_field(err, STATUS_INVALID, "max_tokens",
                               "max_tokens must be at least 1, not %d", request->max_tokens);
    if (request->logprobs &&
        (request->top_logprobs < 0 || request->top_logprobs > TOP_LOGPROBS_MAX))
        return error_set_field(err, STATUS_INVALID, "logprobs", "logprobs must be 0 to %d, not %d",
                               TOP_LOGPROBS_MAX, request->top_logprobs);
    return sampling_check(&request->sampling, err);
}

enum status scheduler_submit(struct scheduler *s, const struct generation_request *request,
                             struct generation **out, struct error *err) {
    *out = NULL;
    enum status status = check_request(s, request, err);
    if (status != STATUS_OK)
        return status;
    int room = s->model->config.positions - request->prompt_count;
    int max_tokens = request->max_tokens < room ? request->max_tokens : room;
    struct generation *generation;
    status = generation_create(&generation, request, max_tokens, err);
    if (status != STATUS_OK)
        return status;

    pthread_mutex_lock(&s->lock);
    if (s->stopping) {
        status = error_set(err, STATUS_STOPPED, "the service is shutting down");
    } else if (!has_room(s)) {
        status = error_set(err, STATUS_BUSY, "%d stories are being told and %d are waiting",
                           s->running_count, s->waiting_count);
    } else {
        *s->last_waiting = generation;
        s->last_waiting = &generation->next;
        s->waiting_count++;
        pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
    if (status != STATUS_OK) {
        generation_drop(generation);
        generation_drop(generation);
        return status;
    }
    *out = generation;
    return STATUS_OK;
}

bool scheduler_has_room(struct scheduler *s) {
    pthread_mutex_lock(&s->lock);
    bool room = !s->stopping && has_room(s);
    pthread_mutex_unlock(&s->lock);
    return room;
}

struct scheduler_stats scheduler_stats(struct scheduler *s) {
    pthread_mutex_lock(&s->lock);
    struct scheduler_stats stats = {
        .running = s->running_count,
        .waiting = s->waiting_count,
        .steps = s->steps,
        .prompt_tokens = s->prompt_tokens,
        .generated_tokens = s->generated_tokens,
        .prefix_queries = s->prefix_queries,
        .prefix_hits = s->prefix_hits,
        .finished = s->finished,
        .last_step_ns = s->last_step_ns,
        .idle = s->idle,
        .stopping = s->stopping,
    };
    pthread_mutex_unlock(&s->lock);
    return stats;
}

void scheduler_measure(struct scheduler *s, struct scheduler_profile *profile) {
    pthread_mutex_lock(&s->lock);
    assert(s->idle);
    s->profile = profile;
    s->activations.part_ns = profile ? profile->part_ns : NULL;
    pool_time_waiting(s->pool, profile ? &profile->waiting_ns : NULL);
    pthread_mutex_unlock(&s->lock);
}

void scheduler_stop(struct scheduler *s, int grace_ms) {
    uint64_t grace_ns = grace_ms > 0 ? (uint64_t)grace_ms * 1000000u : 0;
    uint64_t deadline_ns = clock_now_ns() + grace_ns;
    pthread_mutex_lock(&s->lock);
    if (!s->stopping || deadline_ns < s->deadline_ns) /* a second stop may only hurry */
        s->deadline_ns = deadline_ns;
    s->stopping = true;
    pthread_cond_signal(&s->wake);
    while (!s->over)
        pthread_cond_wait(&s->ended, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

/* ---- creation and destruction ------------------------------------------------------- */

static enum status check_options(const struct scheduler_options *options, struct error *err) {
    const struct {
        const char *field;
        int value, min, max;
    } ranges[] = {
        {"slots", options->slots, 1, 4096},
        {"queue", options->queue, 0, 1 << 20},
        {"threads", options->threads, 0, 1024},
        {"prompt_rows", options->prompt_rows, 1, 1 << 16},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (ranges[i].value < ranges[i].min || ranges[i].value > ranges[i].max)
            return error_set_field(err, STATUS_INVALID, ranges[i].field,
                                   "%s must be %d to %d, not %d", ranges[i].field, ranges[i].min,
                                   ranges[i].max, ranges[i].value);
    }
    return STATUS_OK;
}

/* Runs twice: over an empty arena to measure, over the real one to take. */
static void lay_out(struct scheduler *s, struct arena *arena) {
    size_t slots = (size_t)s->options.slots, vocab = (size_t)s->model->config.vocab;
    struct step *step = &s->step;
    step->ids = arena_take(arena, slots + (size_t)s->options.prompt_rows, sizeof *step->ids);
    step->spans = arena_take(arena, slots, sizeof *step->spans);
    step->heard = arena_take(arena, slots, sizeof(struct generation *));
    step->logit_rows = arena_take(arena, slots, sizeof *step->logit_rows);
    step->logits = arena_take(arena, slots * vocab, sizeof *step->logits);
    step->tokens = arena_take(arena, slots, sizeof *step->tokens);
    step->finishes = arena_take(arena, slots, sizeof *step->finishes);
    size_t prompt_rows = (size_t)s->options.prompt_rows;
    step->scored = arena_take(arena, prompt_rows, sizeof *step->scored);
    step->scored_rows = arena_take(arena, prompt_rows, sizeof *step->scored_rows);
    s->running = arena_take(arena, slots, sizeof(struct generation *));
    step->copies = arena_take(arena, slots, sizeof *step->copies);
    slot_book_layout(&s->slots, arena);
    s->samplers = arena_take(arena, (size_t)pool_workers(s->pool), sizeof(struct sampler *));
}

static enum status create_parts(struct scheduler *s, struct error *err) {
    const struct scheduler_options *options = &s->options;
    const struct model_config *config = &s->model->config;
    enum status status = pool_create(&s->pool, options->threads, err);
    if (status != STATUS_OK)
        return status;
    struct arena measure = {0};
    lay_out(s, &measure);
    if ((status = arena_create(&s->arena, measure.used, err)) != STATUS_OK)
        return status;
    lay_out(s, &s->arena);
    slot_book_open(&s->slots);
    for (int i = 0; i < pool_workers(s->pool); i++) {
        if ((status = sampler_create(&s->samplers[i], config->vocab, err)) != STATUS_OK)
            return status;
        s->samplers_count++;
    }
    enum kv_form form = s->model->numeric == NUMERIC_INT8 ? KV_INT8 : KV_F32;
    if ((status = kv_cache_create(&s->cache, config, options->slots, form, err)) != STATUS_OK)
        return status;
    status = activations_create(&s->activations, config, options->slots + options->prompt_rows,
                                false, pool_workers(s->pool), err);
    if (status != STATUS_OK)
        return status;
    if (pthread_create(&s->thread, NULL, scheduler_main, s) != 0)
        return error_set(err, STATUS_NO_MEMORY, "cannot start the scheduler's thread");
    s->thread_started = true;
    return STATUS_OK;
}

enum status scheduler_create(struct scheduler **out, const struct model *model,
                             const struct scheduler_options *options, struct error *err) {
    *out = NULL;
    enum status status = check_options(options, err);
    if (status != STATUS_OK)
        return status;
    struct scheduler *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the scheduler");
    s->model = model;
    s->options = *options;
    s->slots = (struct slot_book){.slots = options->slots, .positions = model->config.positions};
    s->last_waiting = &s->first_waiting;
    s->idle = true;
    s->last_step_ns = clock_now_ns();
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    pthread_cond_init(&s->ended, NULL);
    status = create_parts(s, err);
    if (status != STATUS_OK) {
        scheduler_destroy(s);
        return status;
    }
    *out = s;
    return STATUS_OK;
}

void scheduler_destroy(struct scheduler *s) {
    if (!s)
        return;
    if (s->thread_started) {
        scheduler_stop(s, 0);
        pthread_join(s->thread, NULL);
    }
    for (int i = 0; i < s->samplers_count; i++)
        sampler_destroy(s->samplers[i]);
    activations_destroy(&s->activations);
    kv_cache_destroy(&s->cache);
    arena_destroy(&s->arena);
    pool_destroy(s->pool);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    pthread_cond_destroy(&s->ended);
    free(s);
}
