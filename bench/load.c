#include "bench/load.h"

#include "base/clock.h"
#include "base/rng.h"

#include <pthread.h>
#include <stdlib.h>

/* Counts stories that have ended; on_news wakes the waiting main thread only then. */
struct countdown {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int ended;
};

struct listener {
    struct countdown *countdown;
    struct generation *generation; /* under the countdown's lock until `ready` */
    bool over;
};

/* Counts a story once, whichever of submit and news comes last. */
static void check_end(struct listener *listener) {
    int32_t ids[64];
    enum finish finish = FINISH_NONE;
    pthread_mutex_lock(&listener->countdown->lock);
    if (listener->generation && !listener->over) {
        while (generation_take(listener->generation, ids, 64, &finish) > 0) {
        }
        if (finish != FINISH_NONE) {
            listener->over = true;
            listener->countdown->ended++;
            pthread_cond_signal(&listener->countdown->changed);
        }
    }
    pthread_mutex_unlock(&listener->countdown->lock);
}

static void on_news(void *context) {
    check_end(context);
}

static enum status draw_prompt(const struct load *load, uint64_t key, struct token_list *prompt,
                               struct error *err) {
    for (int i = 0; i < load->prompt_tokens; i++) {
        int32_t id = (int32_t)(4 + rng_bits(key, (uint64_t)i) % (uint64_t)(load->vocab - 4));
        if (!token_list_append(prompt, id))
            return error_set(err, STATUS_NO_MEMORY, "no memory for a prompt");
    }
    return STATUS_OK;
}

static enum status submit(struct scheduler *scheduler, const struct load *load, int index,
                          struct listener *listener, struct error *err) {
    struct generation *generation = NULL;
    struct token_list drawn = {0};
    uint64_t key = rng_derive(load->seed, (uint64_t)index);
    enum status status = load->prompts ? STATUS_OK : draw_prompt(load, key, &drawn, err);
    const struct token_list *prompt = load->prompts ? &load->prompts[index] : &drawn;
    struct generation_request request = {.prompt = prompt->ids,
                                         .prompt_count = (int)prompt->count,
                                         .max_tokens = load->new_tokens,
                                         .sampling = sampling_defaults(),
                                         .on_news = on_news,
                                         .context = listener};
    request.sampling.temperature = load->temperature;
    request.sampling.seed = key;
    if (status == STATUS_OK)
        status = scheduler_submit(scheduler, &request, &generation, err);
    token_list_free(&drawn);
    if (status != STATUS_OK)
        return status;
    pthread_mutex_lock(&listener->countdown->lock);
    listener->generation = generation;
    pthread_mutex_unlock(&listener->countdown->lock);
    check_end(listener);
    return STATUS_OK;
}

static void await_ended(struct countdown *countdown, int count) {
    pthread_mutex_lock(&countdown->lock);
    while (countdown->ended < count)
        pthread_cond_wait(&countdown->changed, &countdown->lock);
    pthread_mutex_unlock(&countdown->lock);
}

enum status load_run(struct scheduler *scheduler, const struct load *load,
                     struct load_result *result, struct error *err) {
    struct countdown countdown = {0};
    struct listener *listeners = calloc((size_t)load->stories, sizeof *listeners);
    enum status status = STATUS_OK;
    *result = (struct load_result){0};
    if (!listeners)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %d stories", load->stories);
    pthread_mutex_init(&countdown.lock, NULL);
    pthread_cond_init(&countdown.changed, NULL);

    double start = clock_seconds();
    int submitted = 0;
    for (; submitted < load->stories && status == STATUS_OK; submitted++) {
        await_ended(&countdown, submitted - load->streams + 1);
        listeners[submitted].countdown = &countdown;
        status = submit(scheduler, load, submitted, &listeners[submitted], err);
    }
    if (status == STATUS_OK)
        await_ended(&countdown, load->stories);
    result->seconds = clock_seconds() - start;

    for (int i = 0; i < submitted; i++) {
        if (!listeners[i].generation)
            continue;
        struct generation_usage usage = generation_usage(listeners[i].generation);
        result->tokens += (uint64_t)usage.completion_tokens;
        result->first_token_s +=
            (double)(usage.queued_ns + usage.prefill_ns) * 1e-9 / load->stories;
        generation_release(listeners[i].generation);
    }
    pthread_cond_destroy(&countdown.changed);
    pthread_mutex_destroy(&countdown.lock);
    free(listeners);
    return status;
}
