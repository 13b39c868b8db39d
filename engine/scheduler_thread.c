#include "base/clock.h"
#include "engine/scheduler_internal.h"

#include <time.h>

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
        s->step.choices[s->step.choice_count++] = choice;
        request->slot = choice.slot;
        request->computed = request->cached_tokens = choice.shared;
        s->prefix_queries += (uint64_t)request->prompt_count;
        s->prefix_hits += (uint64_t)choice.shared;
        s->running[s->running_count++] = request;
        atomic_store_explicit(&request->admitted_ns, now_ns, memory_order_release);
    }
}

/* Takes over the beginning that another slot has. */
static void begin_sequence(struct scheduler *s, const struct slot_choice *choice) {
    if (choice->source != choice->slot && choice->shared > 0)
        kv_cache_copy(&s->cache, choice->source, choice->slot, choice->shared);
    if (s->draft)
        draft_begin(s->draft, choice->slot, choice->source, choice->shared);
}

/* A stop waits for what was announced before it; where one thread does all, nobody would submit. */
bool scheduler_expects(const struct scheduler *s) {
    return !s->stopping ||
           (s->announced > 0 && !s->options.stepped && clock_now_ns() < s->deadline_ns);
}

/* Until there may be something to do. During a stop that looks ten times a second whether its time
 * is over, as macOS has only the wall clock to wait by, which may be set at any moment. */
static void sleep_until_woken(struct scheduler *s) {
    if (!s->stopping) {
        pthread_cond_wait(&s->wake, &s->lock);
        return;
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&s->wake, &s->lock, &until);
}

/* Sleeps while there is nothing to do, unless it is stepped: then it returns false. False too when
 * the scheduler has come to its end. */
static bool prepare_step(struct scheduler *s) {
    pthread_mutex_lock(&s->lock);
    while (s->running_count == 0 && !s->first_waiting && scheduler_expects(s)) {
        s->idle = true;
        s->last_step_ns = clock_now_ns();
        if (s->options.stepped) {
            pthread_mutex_unlock(&s->lock);
            return false;
        }
        sleep_until_woken(s);
    }
    s->idle = false;
    uint64_t now_ns = clock_now_ns();
    s->step_started_ns = now_ns;
    remove_ended(s, s->stopping && now_ns >= s->deadline_ns);
    admit_waiting(s, now_ns);
    bool more = s->running_count > 0 || scheduler_expects(s);
    pthread_mutex_unlock(&s->lock);

    /* In the order of admission: a copy may start from a slot that an earlier one filled, and
     * a slot that was given away holds what it held until then. */
    for (int i = 0; i < s->step.choice_count; i++)
        begin_sequence(s, &s->step.choices[i]);
    s->step.choice_count = 0;
    while (s->leaving) {
        struct request *request = s->leaving;
        s->leaving = request->next;
        request_emit(request, 0, -1, request->leaving_as, now_ns);
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

/* Proposals for the requests that are generating, as far as they are worth their while. */
static void propose(struct scheduler *s) {
    struct step *step = &s->step;
    step->proposal_count = 0;
    for (int i = 0; i < s->running_count && s->draft; i++) {
        struct request *request = s->running[i];
        request->proposal = NULL;
        if (request->computed < request->prompt_count)
            continue;
        int left = request->prompt_count + request->max_tokens - request->total;
        request->proposal = &step->proposals[step->proposal_count++];
        *request->proposal = (struct proposal){.sampling = &request->sampling,
                                               .slot = request->slot,
                                               .tokens = request->tokens,
                                               .prompt_count = request->prompt_count,
                                               .total = request->total,
                                               .limit = left - 1};
    }
    int limit = MAX_PROPOSED / (step->proposal_count > 0 ? step->proposal_count : 1);
    int most = s->options.draft_tokens > 0 ? s->options.draft_tokens : DRAFT_MAX_TOKENS;
    limit = limit < most ? limit : most;
    for (int i = 0; i < step->proposal_count; i++)
        if (step->proposals[i].limit > limit)
            step->proposals[i].limit = limit;
    if (step->proposal_count > 0)
        draft_propose(s->draft, s->pool, step->proposals, step->proposal_count);
}

/* Rows `first` to `first` + `rows` - 1 of the batch say what comes next, and behind proposals. */
static void add_samples(struct step *step, struct request *request, int first, int rows) {
    for (int i = 0; i < rows; i++) {
        step->samples[step->sample_count] = (struct sample){.request = request, .ahead = i};
        step->sample_rows[step->sample_count++] = first + i;
    }
}

/* The request's next `rows` tokens join the batch, and what is proposed to follow them. */
static void add_span(struct step *step, struct slots *slots, struct request *request, int rows) {
    int proposed = request->proposal ? request->proposal->count : 0, first = step->rows;
    step->spans[step->span_count++] =
        (struct span){.slot = request->slot, .first = request->computed, .rows = rows + proposed};
    slots_append(slots, request->slot, request->tokens + request->computed, rows);
    if (request->prompt_logprobs)
        add_prompt_logprobs(step, request, first, rows);
    for (int i = 0; i < rows + proposed; i++)
        step->ids[step->rows++] = request->tokens[request->computed + i];
    request->computed += rows;
    if (request->computed == request->total) /* the last token: its row says what comes next */
        add_samples(step, request, first + rows - 1, 1 + proposed);
}

/* A row of every request that is generating, and its proposals', then prompts in order of admission
 * as far as they fit. */
static void build_batch(struct scheduler *s) {
    struct step *step = &s->step;
    int left = s->options.prefill_chunk;
    step->rows = step->span_count = step->sample_count = step->prompt_logprob_count = 0;
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
    if (step->prompt_logprob_count == 0) {
        forward_to_logits(&s->forward, &batch, step->sample_rows, step->sample_count,
                          step->logits);
        return;
    }
    forward(&s->forward, &batch);
    run_prompt_logprobs(s);
    if (step->sample_count > 0)
        forward_logits(&s->forward, step->sample_rows, step->sample_count, step->logits);
}

/* A pool task: each worker has its own sampler, and a draw depends on nothing shared. */
static void sample(void *context, int worker, int workers) {
    struct scheduler *s = context;
    struct step *step = &s->step;
    const struct model_config *c = &s->model->config;
    size_t begin, end;
    pool_slice((size_t)step->sample_count, 1, worker, workers, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        struct sample *sample = &step->samples[i];
        struct request *request = sample->request;
        struct sampler *sampler = s->samplers[worker];
        float *logits = step->logits + i * (size_t)c->vocab;
        int total = request->total + sample->ahead;
        if (request->max_tokens == 0) {
            sample->token = -1;
            sample->finish = FINISH_LENGTH;
            continue;
        }
        if (request->logprobs)
            sampler_compute_logprobs(sampler, logits);
        int32_t token = sampler_next(sampler, &request->sampling, logits, request->tokens,
                                     request->prompt_count, total);
        if (request->logprobs) /* seen by nobody until the token is published */
            request->logprobs[total] = sampler_logprobs(sampler, token, request->top_logprobs);
        bool last = total + 1 == request->prompt_count + request->max_tokens;
        sample->finish = token == c->eos_id ? FINISH_STOP : last ? FINISH_LENGTH : FINISH_NONE;
        sample->token = token == c->eos_id ? -1 : token;
    }
}

/* Of each request's samples leaves the one behind all proposals that were right: those in front of
 * it are the same tokens, and those behind it follow a wrong one. */
static void check_proposals(struct scheduler *s) {
    struct step *step = &s->step;
    int kept = 0, tokens = 0;
    uint64_t proposed = 0, accepted = 0;
    for (int i = 0; i < step->sample_count;) {
        struct request *request = step->samples[i].request;
        int count = request->proposal ? request->proposal->count : 0, right = 0;
        while (right < count &&
               step->samples[i + right].token == request->tokens[request->total + right])
            right++;
        if (count > 0)
            draft_judge(s->draft, request->proposal, right);
        slots_append(&s->slots, request->slot, request->tokens + request->total, right);
        request->computed += right;
        tokens += right + (step->samples[i + right].token >= 0);
        step->samples[kept++] = step->samples[i + right];
        i += 1 + count;
        proposed += (uint64_t)count;
        accepted += (uint64_t)right;
    }
    step->sample_count = kept;
    atomic_fetch_add(&s->proposed, proposed);
    atomic_fetch_add(&s->accepted, accepted);
    if (step->proposal_count > 0 && step->prefill_rows == 0)
        draft_learn(s->draft, tokens, clock_now_ns() - step->begun_ns);
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
    for (int i = 0; i < step->sample_count; i++) {
        generated += step->samples[i].ahead + (step->samples[i].token >= 0);
        ended += step->samples[i].finish != FINISH_NONE;
    }
    atomic_fetch_add(&s->generated_tokens, (uint64_t)generated);
    atomic_fetch_add(&s->prompt_tokens, (uint64_t)step->prefill_rows);
    atomic_fetch_add(&s->steps, 1);
    atomic_store(&s->last_step_ns, now_ns);
    if (ended > 0) {
        pthread_mutex_lock(&s->lock);
        for (int i = 0; i < step->sample_count; i++)
            if (step->samples[i].finish != FINISH_NONE)
                remove_running(s, step->samples[i].request);
        pthread_mutex_unlock(&s->lock);
    }

    for (int i = 0; i < step->sample_count; i++) {
        const struct sample *sample = &step->samples[i];
        request_emit(sample->request, sample->ahead, sample->token, sample->finish, now_ns);
        if (sample->finish != FINISH_NONE)
            request_drop(sample->request);
    }
    if (s->profile)
        s->profile->total_ns += clock_now_ns() - s->step_started_ns;
}

static void run_step(struct scheduler *s) {
    uint64_t barriers = pool_barriers(s->pool);
    s->step.begun_ns = clock_now_ns();
    propose(s);
    build_batch(s);
    run_model(s);
    uint64_t ran_ns = s->profile ? clock_now_ns() : 0;
    if (s->step.sample_count > 1)
        pool_run(s->pool, sample, s);
    else
        sample(s, 0, 1); /* not worth waking anybody */
    if (s->profile) {
        s->profile->steps++;
        s->profile->barriers += pool_barriers(s->pool) - barriers;
        s->profile->sampling_ns += clock_now_ns() - ran_ns;
    }
    check_proposals(s);
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
