/* The scheduler under load: the same stories as alone, and clients that behave badly. */
#include "base/pool.h"
#include "base/rng.h"
#include "model/forward.h"
#include "tests/support/client.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- stories and what they are alone -------------------------------------------- */

enum { STORIES = 64 };

/* A story and what becomes of it alone. */
struct expected_story {
    struct story story;
    int32_t ids[POSITIONS];
    int count;
    enum finish_reason finish;
};

/* Tells the story alone, one row after the other, by forward() itself. False on a close call:
 * products of different shapes round differently, so such a story is no test. */
static bool run_alone(struct expected_story *expected) {
    const struct story *story = &expected->story;
    const struct model_config *config = &client_model()->config;
    struct pool *pool;
    struct kv_cache cache;
    struct activations activations;
    struct sampler *sampler;
    const int32_t suppressed[] = {config->unk_id, config->bos_id, config->pad_id};
    int32_t tokens[POSITIONS + 1];
    float logits[VOCAB], nearest = INFINITY;
    assert_int_equal(pool_create(&pool, 1, NULL), STATUS_OK);
    assert_int_equal(kv_cache_create(&cache, config, 1, DTYPE_F32, NULL), STATUS_OK);
    assert_int_equal(activations_create(&activations, config, 1, false, 1, NULL), STATUS_OK);
    assert_int_equal(sampler_create(&sampler, VOCAB, suppressed, 3, NULL), STATUS_OK);
    sampler_measure_lead(sampler);
    const struct forward_context context = {client_model(), pool, &activations};
    memcpy(tokens, story->prompt, (size_t)story->prompt_count * sizeof *tokens);
    expected->count = 0;
    expected->finish = FINISH_NONE;
    int limit = POSITIONS - story->prompt_count;
    limit = story->max_tokens < limit ? story->max_tokens : limit;
    for (int computed = 0; expected->finish == FINISH_NONE; computed++) {
        struct span span = {.slot = 0, .first = computed, .rows = 1};
        struct batch batch = {
            .ids = tokens + computed, .rows = 1, .spans = &span, .span_count = 1, .cache = &cache};
        forward(&context, &batch);
        if (computed < story->prompt_count - 1)
            continue;
        forward_logits_range(&context, 0, 1, logits);
        int count = computed + 1;
        int32_t id = sampler_next(sampler, &story->sampling, logits, tokens,
                                  story->prompt_count, count);
        nearest = fminf(nearest, sampler_lead(sampler));
        if (id == EOS) {
            expected->finish = FINISH_STOP;
        } else {
            tokens[count] = expected->ids[expected->count++] = id;
            if (expected->count == limit)
                expected->finish = FINISH_LENGTH;
        }
    }
    sampler_destroy(sampler);
    activations_destroy(&activations);
    kv_cache_destroy(&cache);
    pool_destroy(pool);
    return nearest > 1e-4f;
}

/* A story of its own for each number, with no close calls on the way. */
static void make_story(struct expected_story *expected, int number, int max_prompt,
                       int max_tokens) {
    struct story *story = &expected->story;
    for (uint64_t attempt = 0;; attempt++) {
        uint64_t key = rng_derive((uint64_t)number, attempt);
        assert_true(attempt < 1000);
        *expected = (struct expected_story){0};
        *story = (struct story){.sampling = sampling_defaults()};
        story->prompt_count = 1 + (int)(rng_bits(key, 0) % (uint64_t)max_prompt);
        story->max_tokens = 1 + (int)(rng_bits(key, 1) % (uint64_t)max_tokens);
        story->sampling.temperature = number % 3 == 0 ? 0 : 1;
        story->sampling.seed = key;
        for (int i = 0; i < story->prompt_count; i++)
            story->prompt[i] = 4 + (int32_t)(rng_bits(key, 10 + (uint64_t)i) % (VOCAB - 4));
        if (run_alone(expected))
            return;
    }
}

static void assert_same(const struct expected_story *expected, enum finish_reason finish,
                        const int32_t *ids, int count) {
    assert_int_equal(finish, expected->finish);
    assert_int_equal(count, expected->count);
    assert_memory_equal(ids, expected->ids, (size_t)count * sizeof *ids);
}

/* ---- the same story at any load -------------------------------------------------- */

struct submitter { /* a thread with a share of the stories */
    struct scheduler *scheduler;
    const struct expected_story *stories;
    int first, step;
    struct outcome {
        enum finish_reason finish;
        int32_t ids[POSITIONS];
        int count;
    } *outcomes;
    atomic_int *refused;
};

static void *submit_share(void *argument) {
    struct submitter *submitter = argument;
    struct client clients[STORIES];
    for (int i = submitter->first; i < STORIES; i += submitter->step) {
        client_init(&clients[i], false);
        struct request_params params = story_params(&submitter->stories[i].story, &clients[i]);
        struct request *request;
        if (scheduler_submit(submitter->scheduler, &params, &request, NULL) != STATUS_OK)
            atomic_fetch_add(submitter->refused, 1);
        pthread_mutex_lock(&clients[i].lock);
        clients[i].request = request;
        pthread_mutex_unlock(&clients[i].lock);
    }
    for (int i = submitter->first; i < STORIES; i += submitter->step) {
        struct outcome *outcome = &submitter->outcomes[i];
        if (!clients[i].request)
            continue;
        struct request_output output = client_collect(&clients[i]);
        outcome->finish = output.finish;
        outcome->count = output.count;
        memcpy(outcome->ids, output.ids, (size_t)output.count * sizeof *output.ids);
        request_release(clients[i].request);
    }
    return NULL;
}

static void check_load(const struct expected_story *stories, int slots, int threads,
                       int prefill_chunk) {
    enum { SUBMITTERS = 4 };
    struct outcome *outcomes = calloc(STORIES, sizeof *outcomes);
    struct scheduler *scheduler = client_scheduler(slots, STORIES, threads, prefill_chunk);
    struct submitter submitters[SUBMITTERS];
    pthread_t ids[SUBMITTERS];
    atomic_int refused;
    atomic_init(&refused, 0);
    for (int i = 0; i < SUBMITTERS; i++) {
        submitters[i] = (struct submitter){scheduler, stories, i, SUBMITTERS, outcomes, &refused};
        assert_int_equal(pthread_create(&ids[i], NULL, submit_share, &submitters[i]), 0);
    }
    for (int i = 0; i < SUBMITTERS; i++)
        pthread_join(ids[i], NULL);
    struct scheduler_stats stats = scheduler_stats(scheduler);
    scheduler_destroy(scheduler);

    uint64_t prompts = 0, generated = 0;
    assert_int_equal(atomic_load(&refused), 0);
    for (int i = 0; i < STORIES; i++) {
        assert_same(&stories[i], outcomes[i].finish, outcomes[i].ids, outcomes[i].count);
        prompts += (uint64_t)stories[i].story.prompt_count;
        generated += (uint64_t)outcomes[i].count;
    }
    assert_int_equal(stats.running, 0);
    assert_int_equal(stats.waiting, 0);
    assert_int_equal(stats.finished, STORIES);
    assert_int_equal(stats.prompt_tokens, prompts);
    assert_int_equal(stats.generated_tokens, generated);
    free(outcomes);
}

static void test_same_stories_at_any_load(void **state) {
    (void)state;
    struct expected_story *stories = calloc(STORIES, sizeof *stories);
    int stops = 0;
    client_set_eos_bias(0.5f);
    for (int i = 0; i < STORIES; i++) {
        make_story(&stories[i], i, i % 4 ? 12 : POSITIONS - 1, 40);
        stops += stories[i].finish == FINISH_STOP;
    }
    assert_in_range(stops, 5, STORIES - 5); /* both ends occur */
    check_load(stories, 64, 2, 64);
    check_load(stories, 64, 1, 5);
    check_load(stories, 7, 2, 1);
    check_load(stories, 1, 2, 1000);
    free(stories);
}

/* ---- all at once ----------------------------------------------------------------- */

struct rude {
    struct scheduler *scheduler;
    uint64_t key;
    atomic_int *accepted;
};

/* Submits, reads a little, leaves in every possible way. */
static void *behave_badly(void *argument) {
    struct rude *rude = argument;
    for (uint64_t i = 0; i < 60; i++) {
        uint64_t dice = rng_bits(rude->key, i);
        struct story story = story_of(1 + (int)(dice % 30), 1 + (int)(dice / 64 % 30));
        struct client client;
        if (story_submit(rude->scheduler, &story, &client, false) != STATUS_OK) {
            sched_yield();
            continue;
        }
        atomic_fetch_add(rude->accepted, 1);
        if (dice >> 20 & 1)
            client_wait_for_output(&client, 1);
        if (dice >> 21 & 1)
            request_cancel(client.request);
        if (dice >> 22 & 1)
            client_collect(&client);
        request_release(client.request);
    }
    return NULL;
}

static void test_rude_clients_leave_nothing_behind(void **state) {
    (void)state;
    enum { CLIENTS = 6 };
    struct scheduler *scheduler = client_scheduler(3, 2, 2, 4);
    struct rude rude[CLIENTS];
    pthread_t threads[CLIENTS];
    atomic_int accepted;
    atomic_init(&accepted, 0);
    client_set_eos_bias(0.5f);
    for (int i = 0; i < CLIENTS; i++) {
        rude[i] = (struct rude){scheduler, rng_derive(77, (uint64_t)i), &accepted};
        assert_int_equal(pthread_create(&threads[i], NULL, behave_badly, &rude[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    scheduler_stop(scheduler, 1000000);
    struct scheduler_stats stats = scheduler_stats(scheduler);
    assert_int_equal(stats.running, 0);
    assert_int_equal(stats.waiting, 0);
    assert_int_equal(stats.finished, atomic_load(&accepted));
    assert_true(stats.finished > 20);
    scheduler_destroy(scheduler);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_stories_at_any_load),
        cmocka_unit_test(test_rude_clients_leave_nothing_behind),
    };
    return cmocka_run_group_tests_name("scheduler under load", tests, client_setup,
                                       client_teardown);
}
