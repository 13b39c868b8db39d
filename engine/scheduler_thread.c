#include "base/clock.h"
#include "engine/scheduler_internal.h"

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
        sampler_compute_logprobs(s->samplers[worker], step->logits + i * vocab);
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
        forward_logits(&s->forward, step->scored_rows + step->scored_done, count, step->logits);
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
    forward(&s->forward, &batch);
    score_prompts(s);
    if (step->heard_count > 0)
        forward_logits(&s->forward, step->logit_rows, step->heard_count, step->logits);
}

/* A pool task: each worker has its own sampler, and a draw depends on nothing shared. */
static void sample(void *context, int worker, int workers) {
    struct scheduler *s = context;
    struct step *step = &s->step;
    const struct model_config *c = &s->model->config;
    size_t begin, end;
    pool_slice((size_t)step->heard_count, 1, worker, workers, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        struct generation *generation = step->heard[i];
        struct sampler *sampler = s->samplers[worker];
        float *logits = step->logits + i * (size_t)c->vocab;
        int known = generation->prompt_count + generation->produced;
        if (generation->logprobs)
            sampler_compute_logprobs(sampler, logits);
        step->tokens[i] = sampler_next(sampler, &generation->sampling, logits, generation->tokens,
                                       known);
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

void *scheduler_main(void *scheduler) {
    struct scheduler *s = scheduler;
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
