#include "engine/request_internal.h"

#include "base/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum status generation_create(struct generation **out, const struct generation_request *request,
                              int max_tokens, struct error *err) {
    size_t prompt_bytes = (size_t)request->prompt_count * sizeof(int32_t);
    size_t tokens = (size_t)request->prompt_count + (size_t)max_tokens;
    size_t logprobs = request->logprobs ? tokens : 0;
    struct generation *generation =
        calloc(1, sizeof *generation + tokens * sizeof(int32_t) +
                      logprobs * sizeof(struct token_logprobs));
    *out = NULL;
    if (!generation)
        return error_set(err, STATUS_NO_MEMORY, "no memory for another story");
    atomic_init(&generation->references, 2);
    atomic_init(&generation->cancelled, false);
    pthread_mutex_init(&generation->news_lock, NULL);
    pthread_mutex_init(&generation->lock, NULL);
    generation->on_news = request->on_news;
    generation->context = request->context;
    generation->submitted_ns = clock_now_ns();
    generation->sampling = request->sampling;
    generation->prompt_count = request->prompt_count;
    generation->max_tokens = max_tokens;
    generation->top_logprobs = request->top_logprobs;
    generation->prompt_logprobs = request->logprobs && request->prompt_logprobs;
    if (request->logprobs) /* aligned: floats and ids behind ids */
        generation->logprobs = (struct token_logprobs *)(void *)(generation->tokens + tokens);
    memcpy(generation->tokens, request->prompt, prompt_bytes);
    *out = generation;
    return STATUS_OK;
}

void generation_drop(struct generation *generation) {
    /* acq_rel: whoever frees must have seen everything the other side did. */
    if (atomic_fetch_sub_explicit(&generation->references, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&generation->news_lock);
    pthread_mutex_destroy(&generation->lock);
    free(generation);
}

void generation_admit(struct generation *generation, uint64_t now_ns) {
    pthread_mutex_lock(&generation->lock);
    generation->admitted_ns = now_ns;
    pthread_mutex_unlock(&generation->lock);
}

void generation_deliver(struct generation *generation, int32_t token, enum finish finish,
                        uint64_t now_ns) {
    pthread_mutex_lock(&generation->lock);
    assert(generation->finish == FINISH_NONE);
    if (token >= 0) {
        assert(generation->produced < generation->max_tokens);
        generation->tokens[generation->prompt_count + generation->produced++] = token;
        generation->last_ns = now_ns;
    }
    if (!generation->first_ns && (token >= 0 || finish == FINISH_STOP))
        generation->first_ns = now_ns; /* also when the first thing the model says is eos */
    generation->finish = finish;
    pthread_mutex_unlock(&generation->lock);

    pthread_mutex_lock(&generation->news_lock);
    if (generation->on_news)
        generation->on_news(generation->context);
    pthread_mutex_unlock(&generation->news_lock);
}

int generation_take(struct generation *generation, int32_t *ids, int max, enum finish *finish) {
    pthread_mutex_lock(&generation->lock);
    int count = generation->produced - generation->taken;
    if (count > max)
        count = max > 0 ? max : 0;
    if (count > 0)
        memcpy(ids, generation->tokens + generation->prompt_count + generation->taken,
               (size_t)count * sizeof *ids);
    generation->taken += count;
    *finish = generation->taken == generation->produced ? generation->finish : FINISH_NONE;
    pthread_mutex_unlock(&generation->lock);
    return count;
}

const struct token_logprobs *generation_logprobs(const struct generation *generation, int place) {
    return &generation->logprobs[generation->prompt_count + place];
}

const struct token_logprobs *generation_prompt_logprobs(const struct generation *generation,
                                                        int place) {
    assert(generation->prompt_logprobs && place > 0 && place < generation->prompt_count);
    return &generation->logprobs[place];
}

void generation_cancel(struct generation *generation) {
    atomic_store_explicit(&generation->cancelled, true, memory_order_relaxed);
}

void generation_detach(struct generation *generation) {
    pthread_mutex_lock(&generation->news_lock); /* waits for a call under way */
    generation->on_news = NULL;
    pthread_mutex_unlock(&generation->news_lock);
}

struct generation_usage generation_usage(const struct generation *generation) {
    struct generation *g = (struct generation *)generation; /* only to lock it */
    pthread_mutex_lock(&g->lock);
    struct generation_usage usage = {.prompt_tokens = g->prompt_count,
                                     .completion_tokens = g->produced};
    if (g->admitted_ns)
        usage.queued_ns = g->admitted_ns - g->submitted_ns;
    if (g->first_ns)
        usage.prefill_ns = g->first_ns - g->admitted_ns;
    if (g->last_ns)
        usage.decode_ns = g->last_ns - g->first_ns;
    pthread_mutex_unlock(&g->lock);
    return usage;
}

void generation_release(struct generation *generation) {
    generation_cancel(generation);
    generation_detach(generation);
    generation_drop(generation);
}
