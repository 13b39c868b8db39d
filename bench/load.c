#include "bench/load.h"

#include "base/clock.h"
#include "base/rng.h"

#include <pthread.h>
#include <stdlib.h>

/* Counts stories that have ended; on_news wakes the waiting main thread only then. */
struct countdown {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int left;
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
            if (--listener->countdown->left == 0)
                pthread_cond_signal(&listener->countdown->changed);
        }
    }
    pthread_mutex_unlock(&listener->countdown->lock);
}

static void on_news(void *context) {
    check_end(context);
}

static enum status submit(struct scheduler *scheduler, const struct load *load, int index,
                          struct listener *listener, struct error *err) {
    int32_t *prompt = malloc((size_t)load->prompt_tokens * sizeof *prompt);
    struct generation *generation = NULL;
    if (!prompt)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a prompt");
    uint64_t key = rng_derive(load->seed, (uint64_t)index);
    for (int i = 0; i < load->prompt_tokens; i++)
        prompt[i] = (int32_t)(4 + rng_bits(key, (uint64_t)i) % (uint64_t)(load->vocab - 4));
    struct generation_request request = {.prompt = prompt,
                                         .prompt_count = load->prompt_tokens,
                                         .max_tokens = load->new_tokens,
                                         .sampling = sampling_defaults(),
                                         .on_news = on_news,
                                         .context = listener};
    request.sampling.seed = key;
    enum status status = scheduler_submit(scheduler, &request, &generation, err);
    free(prompt);
    if (status != STATUS_OK)
        return status;
    pthread_mutex_lock(&listener->countdown->lock);
    listener->generation = generation;
    pthread_mutex_unlock(&listener->countdown->lock);
    check_end(listener);
    return STATUS_OK;
}

enum status load_run(struct scheduler *scheduler, const struct load *load,
                     struct load_result *result, struct error *err) {
    struct countdown countdown = {.left = load->streams};
    struct listener *listeners = calloc((size_t)load->streams, sizeof *listeners);
    enum status status = STATUS_OK;
    *result = (struct load_result){0};
    if (!listeners)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %d streams", load->streams);
    pthread_mutex_init(&countdown.lock, NULL);
    pthread_cond_init(&countdown.changed, NULL);

    double start = clock_seconds();
    int submitted = 0;
    for (; submitted < load->streams && status == STATUS_OK; submitted++) {
        listeners[submitted].countdown = &countdown;
        status = submit(scheduler, load, submitted, &listeners[submitted], err);
    }
    if (status == STATUS_OK) {
        pthread_mutex_lock(&countdown.lock);
        while (countdown.left > 0)
            pthread_cond_wait(&countdown.changed, &countdown.lock);
        pthread_mutex_unlock(&countdown.lock);
    }
    result->seconds = clock_seconds() - start;

    for (int i = 0; i < submitted; i++) {
        if (!listeners[i].generation)
            continue;
        struct generation_usage usage = generation_usage(listeners[i].generation);
        result->tokens += (uint64_t)usage.completion_tokens;
        result->first_token_s +=
            (double)(usage.queued_ns + usage.prefill_ns) * 1e-9 / load->streams;
        generation_release(listeners[i].generation);
    }
    pthread_cond_destroy(&countdown.changed);
    pthread_mutex_destroy(&countdown.lock);
    free(listeners);
    return status;
}
