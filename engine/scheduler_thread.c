#include "base/clock.h"
#include "engine/scheduler_internal.h"

/* ---- admission: before each step ------------------------------------------------ */

static void leave(struct scheduler *s, struct request *request, enum finish_reason finish) {
    request->leaving_as = finish;
    request->next = s->leaving;
    s->leaving = request;
    s->finished++;
}

static bool is_cancelled(const struct request *request) {
    return atomic_load_explicit(&request->cancelled, memory_order_relaxed);
}

/* Takes out everything that was cancelled or, past the stop's deadline, everything. */
static void remove_ended(struct scheduler *s, bool all) {
    int kept = 0;
    for (int i = 0; i < s->running_count; i++) {
        struct request *request = s->running[i];
        if (all || is_cancelled(request)) {
            slots_release(&s->slots, request->slot);
            leave(s, request, is_cancelled(request) ? FINISH_CANCELLED : FINISH_SHUTDOWN);
        } else {
            s->running[kept++] = request;
        }
    }
    s->running_count = kept;
    struct request **link = &s->first_waiting;
    while (*link) {
        struct request *request = *link;
        if (all || is_cancelled(request)) {
            *link = request->next;
            s->waiting_count--;
            leave(s, request, is_cancelled(request) ? FINISH_CANCELLED : FINISH_SHUTDOWN);
        } else {
            link = &request->next;
        }
    }
    s->last_waiting = link;
}

static void admit_waiting(struct scheduler *s, uint64_t now_ns) {
    while (s->slots.free > 0 && s->first_waiting) {
        struct request *request = s->first_waiting;
        s->first_waiting = request->next;
        if (!s->first_waiting)
            s->last_waiting = &s->first_waiting;
        s->waiting_count--;
        request->next = NULL;
        /* Rows that are in the cache already give no logits: then the first is all we look up. */
        struct slot_choice choice = slots_take(
            &s->slots, request->tokens, request->prompt_logprobs ? 1 : request->prompt_count);
        if (choice.source != choice.slot && choice.shared > 0)
            s->step.copies[s->step.copy_count++] = choice;
        request->slot = choice.slot;
        request->computed = request->cached_tokens = choice.shared;
        s->prefix_queries += (uint64_t)request->prompt_count;
        s->prefix_hits += (uint64_t)choice.shared;
        s->running[s->running_count++] = request;
        atomic_store_explicit(&request->admitted_ns, now_ns, memory_order_release);
    }
}

/* Sleeps while there is nothing to do, unless it is stepped: then it returns false. False too when
 * the scheduler has come to its end. */
static bool prepare_step(struct scheduler *s) {
    pthread_mutex_lock(&s->lock);
    while (s->running_count == 0 && !s->first_waiting && !s->stopping) {
        s->idle = true;
        s->last_step_ns = clock_now_ns();
        if (s->options.stepped) {
            pthread_mutex_unlock(&s->lock);
            return false;
        }
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
        struct request *request = s->leaving;
        s->leaving = request->next;
        request_emit(request, -1, request->leaving_as, now_ns);
        request_drop(request);
    }
    return more;
}

/* ---- one step ------------------------------------------------------------------- */

/* Of the request's next `rows` tokens, which begin at batch row `first`, those whose logits give
 * the log-probabilities of a token of the prompt. */
static void add_prompt_logprobs(struct step *step, struct request *request, int first, int rows) {
    for (int i = 0; i < rows && request->computed + i + 1 < request->prompt_count; i++) {
        step->prompt_logprobs[step->prompt_logprob_count] =
            (struct prompt_logprob){request, request->computed + i + 1};
        step->prompt_logprob_rows[step->prompt_logprob_count++] = first + i;
    }
}

/* The request's next `rows` tokens join the batch. */
static void add_span(struct step *step, struct slots *slots, struct request *request, int rows) {
    step->spans[step->span_count++] =
        (struct span){.slot = request->slot, .first = request->computed, .rows = rows};
    slots_append(slots, request->slot, request->tokens + request->computed, rows);
    if (request->prompt_logprobs)
        add_prompt_logprobs(step, request, step->rows, rows);
    for (int i = 0; i < rows; i++)
        step->ids[step->rows++] = request->tokens[request->computed + i];
    request->computed += rows;
    if (request->computed == request->total) { /* the last token: its row says what comes next */
        step->sampled[step->sampled_count] = request;
        step->sampled_rows[step->sampled_count++] = step->rows - 1;
    }
}

/* A row of every request that is generating, then prompts in order of admission as far as they
 * fit. */
static void build_batch(struct scheduler *s) {
    struct step *step = &s->step;
    int left = s->options.prefill_chunk;
    step->rows = step->span_count = step->sampled_count = step->prompt_logprob_count = 0;
    for (int i = 0; i < s->running_count; i++) {
        if (s->running[i]->computed >= s->running[i]->prompt_count)
            add_span(step, &s->slots, s->running[i], 1);
    }
    for (int i = 0; i < s->running_count && left > 0; i++) {
        int unread = s->running[i]->prompt_count - s->running[i]->computed;
        if (unread <= 0) /* none left, also when the loop above took the last */
            continue;
        int rows = unread < left ? unread : left;
        add_span(step, &s->slots, s->running[i], rows);
        left -= rows;
    }
    step->prefill_rows = s->options.prefill_chunk - left;
}

/* A pool task over the prompt tokens whose logits are there. */
static void compute_prompt_logprobs(void *context, int worker, int workers) {
    struct scheduler *s = context;
    const struct step *step = &s->step;
    size_t vocab = (size_t)s->model->config.vocab, begin, end;
    int count = step->prompt_logprob_count - step->prompt_logprobs_done;
    pool_slice((size_t)(count < s->options.slots ? count : s->options.slots), 1, worker, workers,
               &begin, &end);
    for (size_t i = begin; i < end; i++) {
        const struct prompt_logprob *wanted =
            &step->prompt_logprobs[(size_t)step->prompt_logprobs_done + i];
        struct request *request = wanted->request;
        sampler_compute_logprobs(s->samplers[worker], step->logits + i * vocab);
        request->logprobs[wanted->index] = sampler_logprobs(
            s->samplers[worker], request->tokens[wanted->index], request->top_logprobs);
    }
}

/* Before the sampled rows' logits are there, as many rows at a time as there is memory for. */
static void run_prompt_logprobs(struct scheduler *s) {
    struct step *step = &s->step;
    step->prompt_logprobs_done = 0;
    while (step->prompt_logprobs_done < step->prompt_logprob_count) {
        int left = step->prompt_logprob_count - step->prompt_logprobs_done;
        int count = left < s->options.slots ? left : s->options.slots;
        forward_logits(&s->forward, step->prompt_logprob_rows + step->prompt_logprobs_done, count,
                       step->logits);
        pool_run(s->pool, compute_prompt_logprobs, s);
        step->prompt_logprobs_done += count;
    }
}

static void run_model(struct scheduler *s) {
    struct step *step = &s->step;
    struct batch batch = {.ids = step->ids,
                          .rows = step->rows,
                          .spans = step->spans,
                          .span_count = step->span_count,
                          .cache = &s->cache};
    forward(&s->forward, &batch);
    run_prompt_logprobs(s);
    if (step->sampled_count > 0)
        forward_logits(&s->forward, step->sampled_rows, step->sampled_count, step->logits);
}

/* A pool task: each worker has its own sampler, and a draw depends on nothing shared. */
static void sample(void *context, int worker, int workers) {
    struct scheduler *s = context;
    struct step *step = &s->step;
    const struct model_config *c = &s->model->config;
    size_t begin, end;
    pool_slice((size_t)step->sampled_count, 1, worker, workers, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        struct request *request = step->sampled[i];
        struct sampler *sampler = s->samplers[worker];
        float *logits = step->logits + i * (size_t)c->vocab;
        if (request->max_tokens == 0) {
            step->tokens[i] = -1;
            step->finishes[i] = FINISH_LENGTH;
            continue;
        }
        if (request->logprobs)
            sampler_compute_logprobs(sampler, logits);
        int32_t token = sampler_next(sampler, &request->sampling, logits, request->tokens,
                                     request->prompt_count, request->total);
        if (request->logprobs) /* seen by nobody until the token is published */
            request->logprobs[request->total] =
                sampler_logprobs(sampler, token, request->top_logprobs);
        bool last = request->total + 1 == request->prompt_count + request->max_tokens;
        step->finishes[i] = token == c->eos_id ? FINISH_STOP : last ? FINISH_LENGTH : FINISH_NONE;
        step->tokens[i] = token == c->eos_id ? -1 : token;
    }
}

static void remove_running(struct scheduler *s, const struct request *request) {
    int i = 0;
    while (s->running[i] != request)
        i++;
    slots_release(&s->slots, request->slot);
    s->running_count--;
    for (; i < s->running_count; i++)
        s->running[i] = s->running[i + 1];
    s->finished++;
}

/* First the counts and the slots, then the output: a client that sees the end finds its slot
 * free. The lock is taken only when a request has ended. */
static void emit(struct scheduler *s) {
    struct step *step = &s->step;
    uint64_t now_ns = clock_now_ns();
    int generated = 0, ended = 0;
    for (int i = 0; i < step->sampled_count; i++) {
        generated += step->tokens[i] >= 0;
        ended += step->finishes[i] != FINISH_NONE;
    }
    atomic_fetch_add(&s->generated_tokens, (uint64_t)generated);
    atomic_fetch_add(&s->prompt_tokens, (uint64_t)step->prefill_rows);
    atomic_fetch_add(&s->steps, 1);
    atomic_store(&s->last_step_ns, now_ns);
    if (ended > 0) {
        pthread_mutex_lock(&s->lock);
        for (int i = 0; i < step->sampled_count; i++)
            if (step->finishes[i] != FINISH_NONE)
                remove_running(s, step->sampled[i]);
        pthread_mutex_unlock(&s->lock);
    }

    for (int i = 0; i < step->sampled_count; i++) {
        request_emit(step->sampled[i], step->tokens[i], step->finishes[i], now_ns);
        if (step->finishes[i] != FINISH_NONE)
            request_drop(step->sampled[i]);
    }
    if (s->profile)
        s->profile->total_ns += clock_now_ns() - s->step_started_ns;
}

static void run_step(struct scheduler *s) {
    build_batch(s);
    run_model(s);
    uint64_t ran_ns = s->profile ? clock_now_ns() : 0;
    if (s->step.sampled_count > 1)
        pool_run(s->pool, sample, s);
    else
        sample(s, 0, 1); /* not worth waking anybody */
    if (s->profile) {
        s->profile->steps++;
        s->profile->sampling_ns += clock_now_ns() - ran_ns;
    }
    emit(s);
}

bool scheduler_step(struct scheduler *s) {
    bool more = prepare_step(s);
    if (more && s->running_count > 0)
        run_step(s);
    return more;
}

void *scheduler_main(void *scheduler) {
    struct scheduler *s = scheduler;
    while (scheduler_step(s)) {
    }
    pthread_mutex_lock(&s->lock);
    s->over = true;
    s->idle = true;
    pthread_cond_broadcast(&s->ended);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}
