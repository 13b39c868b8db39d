#include "base/clock.h"
#include "engine/scheduler_internal.h"

#include <assert.h>
#include <stdlib.h>

/* ---- the clients' side ------------------------------------------------------------ */

/* Free slots count too: what waits for them is taken in by the very next step. */
static bool has_room(const struct scheduler *s, enum queue_share share) {
    int queue = share == QUEUE_HALF ? s->options.queue / 2 : s->options.queue;
    return share == QUEUE_BEYOND || s->waiting_count < queue + s->slots.free;
}

static enum status check_params(const struct scheduler *s, const struct request_params *params,
                                struct error *err) {
    const struct model_config *c = &s->model->config;
    if (params->prompt_count < 1 || params->prompt_count > c->positions - 1)
        return error_set_field(err, STATUS_INVALID, "prompt",
                               "the prompt must have 1 to %d tokens, not %d", c->positions - 1,
                               params->prompt_count);
    for (int i = 0; i < params->prompt_count; i++) {
        if (params->prompt[i] < 0 || params->prompt[i] >= c->vocab)
            return error_set_field(err, STATUS_INVALID, "prompt",
                                   "token ids must be 0 to %d, not %d", c->vocab - 1,
                                   params->prompt[i]);
    }
    if (params->max_tokens < 0)
        return error_set_field(err, STATUS_INVALID, "max_tokens",
                               "max_tokens must be at least 0, not %d", params->max_tokens);
    if (params->logprobs && (params->top_logprobs < 0 || params->top_logprobs > TOP_LOGPROBS_MAX))
        return error_set_field(err, STATUS_INVALID, "logprobs", "logprobs must be 0 to %d, not %d",
                               TOP_LOGPROBS_MAX, params->top_logprobs);
    return sampling_check(&params->sampling, c->vocab, err);
}

enum status scheduler_submit(struct scheduler *s, const struct request_params *params,
                             struct request **out, struct error *err) {
    *out = NULL;
    enum status status = check_params(s, params, err);
    if (status != STATUS_OK)
        return status;
    int room = s->model->config.positions - params->prompt_count;
    int max_tokens = params->max_tokens < room ? params->max_tokens : room;
    struct request *request;
    status = request_create(&request, params, max_tokens, err);
    if (status != STATUS_OK)
        return status;

    pthread_mutex_lock(&s->lock);
    if (s->stopping && !(params->announced && scheduler_expects(s))) {
        status = error_set(err, STATUS_STOPPED, "the service is shutting down");
    } else if (!has_room(s, params->queue_share)) {
        status = error_set(err, STATUS_BUSY, "%d stories are running and %d are waiting",
                           s->running_count, s->waiting_count);
    } else {
        *s->last_waiting = request;
        s->last_waiting = &request->next;
        s->waiting_count++;
        s->announced += params->to_follow - params->announced;
        pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
    if (status != STATUS_OK) {
        request_drop(request);
        request_drop(request);
        return status;
    }
    *out = request;
    return STATUS_OK;
}

void scheduler_retract(struct scheduler *s, int count) {
    pthread_mutex_lock(&s->lock);
    s->announced -= count;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

bool scheduler_has_room(struct scheduler *s, enum queue_share share) {
    pthread_mutex_lock(&s->lock);
    bool room = scheduler_expects(s) && has_room(s, share);
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
        .proposed = s->proposed,
        .accepted = s->accepted,
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
    if (s->options.stepped) {
        pthread_mutex_unlock(&s->lock);
        scheduler_main(s);
        return;
    }
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
        {"prefill_chunk", options->prefill_chunk, 1, 1 << 16},
        {"draft_tokens", options->draft_tokens, 0, DRAFT_MAX_TOKENS},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (ranges[i].value < ranges[i].min || ranges[i].value > ranges[i].max)
            return error_set_field(err, STATUS_INVALID, ranges[i].field,
                                   "%s must be %d to %d, not %d", ranges[i].field, ranges[i].min,
                                   ranges[i].max, ranges[i].value);
    }
    return STATUS_OK;
}

static void lay_out(void *context, struct arena *arena) {
    struct scheduler *s = context;
    size_t slots = (size_t)s->options.slots, vocab = (size_t)s->model->config.vocab;
    struct step *step = &s->step;
    size_t chunk = (size_t)s->options.prefill_chunk, proposed = s->options.draft ? MAX_PROPOSED : 0;
    step->proposals = arena_take(arena, slots, sizeof *step->proposals);
    step->ids = arena_take(arena, slots + chunk + proposed, sizeof *step->ids);
    step->spans = arena_take(arena, slots, sizeof *step->spans);
    step->samples = arena_take(arena, slots + proposed, sizeof *step->samples);
    step->sample_rows = arena_take(arena, slots + proposed, sizeof *step->sample_rows);
    step->logits = arena_take(arena, (slots + proposed) * vocab, sizeof *step->logits);
    step->prompt_logprobs = arena_take(arena, chunk, sizeof *step->prompt_logprobs);
    step->prompt_logprob_rows = arena_take(arena, chunk, sizeof *step->prompt_logprob_rows);
    s->running = arena_take(arena, slots, sizeof(struct request *));
    step->choices = arena_take(arena, slots, sizeof *step->choices);
    slots_layout(&s->slots, arena);
    s->samplers = arena_take(arena, (size_t)pool_workers(s->pool), sizeof(struct sampler *));
}

static enum status create_parts(struct scheduler *s, struct error *err) {
    const struct scheduler_options *options = &s->options;
    const struct model_config *config = &s->model->config;
    int32_t suppressed[MODEL_SUPPRESSED];
    model_suppressed(config, suppressed);
    enum status status = pool_create(&s->pool, options->threads, err);
    if (status != STATUS_OK)
        return status;
    if ((status = arena_build(&s->arena, lay_out, s, err)) != STATUS_OK)
        return status;
    slots_open(&s->slots);
    for (int i = 0; i < pool_workers(s->pool); i++) {
        status = sampler_create(&s->samplers[i], config->vocab, suppressed, MODEL_SUPPRESSED, err);
        if (status != STATUS_OK)
            return status;
        s->samplers_count++;
    }
    status = kv_cache_create(&s->cache, config, options->slots, s->model->dtype, err);
    if (status != STATUS_OK)
        return status;
    int proposed = options->draft ? MAX_PROPOSED : 0;
    status = activations_create(&s->activations, config,
                                options->slots + options->prefill_chunk + proposed, false,
                                pool_workers(s->pool), err);
    if (status == STATUS_OK && options->draft)
        status = draft_create(&s->draft, options->draft, options->draft_tokens, options->slots,
                              s->pool, err);
    if (status != STATUS_OK)
        return status;
    s->forward = (struct forward_context){s->model, s->pool, &s->activations};
    if (!options->stepped && pthread_create(&s->thread, NULL, scheduler_main, s) != 0)
        return error_set(err, STATUS_NO_MEMORY, "cannot start the scheduler's thread");
    s->started = true;
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
    s->slots = (struct slots){.count = options->slots, .positions = model->config.positions};
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
    if (s->started)
        scheduler_stop(s, 0);
    if (s->started && !s->options.stepped)
        pthread_join(s->thread, NULL);
    for (int i = 0; i < s->samplers_count; i++)
        sampler_destroy(s->samplers[i]);
    draft_destroy(s->draft);
    activations_destroy(&s->activations);
    kv_cache_destroy(&s->cache);
    arena_destroy(&s->arena);
    pool_destroy(s->pool);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    pthread_cond_destroy(&s->ended);
    free(s);
}
