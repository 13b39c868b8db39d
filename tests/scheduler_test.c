/* The scheduler: limits, the ways a story ends, waiting, canceling, stopping. */
#include "tests/support/client.h"

#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the ends of a story --------------------------------------------------------- */

/* Submits and waits for the end. */
static enum finish tell_one(struct scheduler *scheduler, const struct story *story, int32_t *ids,
                            int *count, struct generation_usage *usage) {
    struct client client;
    struct error err = {0};
    client_init(&client, false);
    struct generation_request request = story_request(story, &client);
    if (scheduler_submit(scheduler, &request, &client.generation, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    enum finish finish = client_collect(&client, POSITIONS, ids, count);
    if (usage)
        *usage = generation_usage(client.generation);
    generation_release(client.generation);
    return finish;
}

static void test_eos_ends_and_is_not_a_token(void **state) {
    (void)state;
    int32_t ids[POSITIONS];
    int count;
    struct generation_usage usage;
    struct scheduler *scheduler = client_scheduler(2, 2, 1, 16);
    struct story story = story_of(3, 20);
    client_set_eos_bias(100);
    assert_int_equal(tell_one(scheduler, &story, ids, &count, &usage), FINISH_STOP);
    assert_int_equal(count, 0);
    assert_int_equal(usage.prompt_tokens, 3);
    assert_int_equal(usage.completion_tokens, 0);
    assert_true(usage.prefill_ns > 0);
    assert_int_equal(usage.decode_ns, 0);
    scheduler_destroy(scheduler);
}

static void test_special_tokens_are_never_told(void **state) {
    (void)state;
    const struct model_config *config = &client_model()->config;
    const int32_t special[] = {config->unk_id, config->bos_id, config->pad_id};
    float *bias = client_model()->parameters.head_bias;
    int32_t ids[POSITIONS];
    int count;
    struct scheduler *scheduler = client_scheduler(2, 2, 1, 16);
    struct story story = story_of(3, 30);
    client_set_eos_bias(-100);
    for (int i = 0; i < 3; i++)
        bias[special[i]] += 100;
    enum finish finish = tell_one(scheduler, &story, ids, &count, NULL);
    for (int i = 0; i < 3; i++)
        bias[special[i]] -= 100;
    assert_int_equal(finish, FINISH_LENGTH);
    assert_int_equal(count, 30);
    for (int i = 0; i < count; i++)
        assert_true(ids[i] > 3);
    scheduler_destroy(scheduler);
}

static void test_length_is_cut_to_the_positions(void **state) {
    (void)state;
    static const struct {
        int prompt, max_tokens, told;
    } cases[] = {{1, 5, 5}, {1, 1000000, POSITIONS - 1}, {POSITIONS - 1, 9, 1}, {40, 24, 24},
                 {40, 25, 24}};
    int32_t ids[POSITIONS];
    int count;
    struct scheduler *scheduler = client_scheduler(2, 2, 2, 8);
    client_set_eos_bias(-100);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct story story = story_of(cases[i].prompt, cases[i].max_tokens);
        struct generation_usage usage;
        assert_int_equal(tell_one(scheduler, &story, ids, &count, &usage), FINISH_LENGTH);
        assert_int_equal(count, cases[i].told);
        assert_int_equal(usage.completion_tokens, cases[i].told);
        assert_true(usage.prefill_ns > 0 && (count == 1) == (usage.decode_ns == 0));
    }
    scheduler_destroy(scheduler);
}

static void test_wrong_requests_are_refused(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(1, 1, 1, 8);
    struct story good = story_of(3, 5), story;
    int top = 0;
    struct generation *generation;
    struct error err;
#define REFUSED(change, name)                                                                   \
    do {                                                                                        \
        story = good;                                                                           \
        change;                                                                                 \
        struct generation_request request = story_request(&story, NULL);                        \
        request.logprobs = true;                                                                \
        request.top_logprobs = top;                                                             \
        assert_int_equal(scheduler_submit(scheduler, &request, &generation, &err),              \
                         STATUS_INVALID);                                                       \
        assert_string_equal(err.field, name);                                                   \
        assert_null(generation);                                                                \
    } while (0)
    REFUSED(story.prompt_count = 0, "prompt");
    REFUSED(story.prompt_count = POSITIONS, "prompt");
    REFUSED(story.prompt[2] = VOCAB, "prompt");
    REFUSED(story.prompt[0] = -1, "prompt");
    REFUSED(story.max_tokens = 0, "max_tokens");
    REFUSED(story.sampling.temperature = NAN, "temperature");
    REFUSED(story.sampling.top_p = 2, "top_p");
    REFUSED(top = TOP_LOGPROBS_MAX + 1, "logprobs");
    REFUSED(top = -1, "logprobs");
#undef REFUSED
    assert_int_equal(scheduler_stats(scheduler).finished, 0);
    scheduler_destroy(scheduler);

    static const struct scheduler_options wrong[] = {
        {0, 1, 1, 8}, {1, -1, 1, 8}, {1, 1, -1, 8}, {1, 1, 1, 0}};
    static const char *const fields[] = {"slots", "queue", "threads", "prompt_rows"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(scheduler_create(&scheduler, client_model(), &wrong[i], &err),
                         STATUS_INVALID);
        assert_string_equal(err.field, fields[i]);
        assert_null(scheduler);
    }
}

/* ---- waiting, canceling, leaving ------------------------------------------------ */

static void test_full_queue_and_cancelled_waiters(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(1, 2, 1, 8);
    struct story story = story_of(3, 10);
    struct client running, first, second, third;
    int32_t ids[POSITIONS];
    int count;
    client_set_eos_bias(-100);
    assert_true(scheduler_has_room(scheduler));
    assert_int_equal(story_submit(scheduler, &story, &running, true), STATUS_OK);
    client_wait_for_news(&running, 1); /* from here the scheduler stands still */
    assert_int_equal(story_submit(scheduler, &story, &first, false), STATUS_OK);
    assert_true(scheduler_has_room(scheduler));
    assert_int_equal(story_submit(scheduler, &story, &second, false), STATUS_OK);
    assert_false(scheduler_has_room(scheduler));
    assert_int_equal(story_submit(scheduler, &story, &third, false), STATUS_BUSY);
    assert_null(third.generation);
    assert_int_equal(scheduler_stats(scheduler).waiting, 2);
    assert_int_equal(scheduler_stats(scheduler).running, 1);

    generation_cancel(first.generation);
    client_open_gate(&running);
    assert_int_equal(client_collect(&first, 5, ids, &count), FINISH_CANCELLED);
    assert_int_equal(count, 0);
    assert_int_equal(generation_usage(first.generation).prefill_ns, 0);
    assert_int_equal(client_collect(&running, 5, ids, &count), FINISH_LENGTH);
    assert_int_equal(client_collect(&second, 5, ids, &count), FINISH_LENGTH);
    assert_int_equal(count, 10);
    assert_true(generation_usage(second.generation).queued_ns > 0);
    assert_true(scheduler_has_room(scheduler));
    generation_release(running.generation);
    generation_release(first.generation);
    generation_release(second.generation);
    scheduler_destroy(scheduler);
}

static void test_cancel_takes_effect_within_a_step(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(2, 2, 2, 8);
    struct story story = story_of(3, 50);
    struct client client;
    int32_t ids[POSITIONS];
    int count;
    client_set_eos_bias(-100);
    client_init(&client, false);
    client.cancel_after = 4;
    struct generation_request request = story_request(&story, &client);
    pthread_mutex_lock(&client.lock);
    assert_int_equal(scheduler_submit(scheduler, &request, &client.generation, NULL), STATUS_OK);
    pthread_mutex_unlock(&client.lock);
    assert_int_equal(client_collect(&client, 50, ids, &count), FINISH_CANCELLED);
    assert_int_equal(count, 4);
    assert_int_equal(scheduler_stats(scheduler).running, 0);
    generation_cancel(client.generation); /* harmless when over */
    generation_release(client.generation);
    scheduler_destroy(scheduler);
}

static void test_a_slow_reader_stalls_nobody(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(2, 2, 1, 8);
    struct story story = story_of(3, 50), other = story_of(5, 50);
    struct client slow, quick;
    int32_t ids[POSITIONS], again[POSITIONS];
    int count, taken = 0;
    enum finish finish = FINISH_NONE;
    client_set_eos_bias(-100);
    assert_int_equal(story_submit(scheduler, &story, &slow, false), STATUS_OK);
    assert_int_equal(story_submit(scheduler, &other, &quick, false), STATUS_OK);
    assert_int_equal(client_collect(&quick, 50, ids, &count), FINISH_LENGTH);
    client_wait_for_news(&slow, 50); /* told to the end though nothing was taken */
    assert_int_equal(scheduler_stats(scheduler).running, 0);
    assert_int_equal(generation_take(slow.generation, again, 0, &finish), 0);
    assert_int_equal(finish, FINISH_NONE);
    while (finish == FINISH_NONE)
        taken += generation_take(slow.generation, again + taken, 1, &finish);
    assert_int_equal(taken, 50);
    assert_int_equal(finish, FINISH_LENGTH);
    assert_int_equal(tell_one(scheduler, &story, ids, &count, NULL), FINISH_LENGTH);
    assert_memory_equal(again, ids, sizeof *ids * 50);
    generation_release(slow.generation);
    generation_release(quick.generation);
    scheduler_destroy(scheduler);
}

static void test_long_prompts_do_not_stall_others(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(2, 2, 1, 2);
    struct story engine = story_of(3, 60), reader = story_of(40, 1);
    struct client telling, reading;
    int32_t ids[POSITIONS];
    int count;
    client_set_eos_bias(-100);
    assert_int_equal(story_submit(scheduler, &engine, &telling, true), STATUS_OK);
    client_wait_for_news(&telling, 1);
    client_init(&reading, false);
    reading.watched = telling.generation;
    struct generation_request request = story_request(&reader, &reading);
    assert_int_equal(scheduler_submit(scheduler, &request, &reading.generation, NULL), STATUS_OK);
    client_open_gate(&telling);
    assert_int_equal(client_collect(&reading, 5, ids, &count), FINISH_LENGTH);
    /* 40 prompt rows, two a step, are 20 steps; each also gave the other story a token. */
    assert_int_equal(reading.watched_tokens, 1 + 20);
    assert_int_equal(client_collect(&telling, 60, ids, &count), FINISH_LENGTH);
    assert_int_equal(count, 60);
    generation_release(telling.generation);
    generation_release(reading.generation);
    scheduler_destroy(scheduler);
}

static void test_first_come_first_served(void **state) {
    (void)state;
    enum { WAITING = 5 };
    struct scheduler *scheduler = client_scheduler(1, WAITING, 1, 8);
    struct story story = story_of(3, 6);
    struct client running, waiting[WAITING];
    int32_t ids[POSITIONS];
    int count;
    client_set_eos_bias(-100);
    assert_int_equal(story_submit(scheduler, &story, &running, true), STATUS_OK);
    client_wait_for_news(&running, 1);
    for (int i = 0; i < WAITING; i++) {
        client_init(&waiting[i], false);
        waiting[i].watched = i ? waiting[i - 1].generation : running.generation;
        struct generation_request request = story_request(&story, &waiting[i]);
        assert_int_equal(
            scheduler_submit(scheduler, &request, &waiting[i].generation, NULL), STATUS_OK);
    }
    client_open_gate(&running);
    for (int i = WAITING - 1; i >= 0; i--) {
        assert_int_equal(client_collect(&waiting[i], 6, ids, &count), FINISH_LENGTH);
        assert_int_equal(waiting[i].watched_tokens, 6); /* the one before was through */
    }
    for (int i = 0; i < WAITING; i++)
        generation_release(waiting[i].generation);
    generation_release(running.generation);
    scheduler_destroy(scheduler);
}

static void *detach(void *argument) {
    struct client *client = argument;
    generation_detach(client->generation);
    pthread_mutex_lock(&client->lock);
    bool inside = client->inside;
    int news = client->news;
    pthread_mutex_unlock(&client->lock);
    return inside ? NULL : (void *)(intptr_t)news;
}

static void test_detach_waits_and_silences(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(2, 2, 1, 8);
    struct story story = story_of(3, 50);
    struct client client;
    int32_t ids[POSITIONS];
    int count = 0;
    enum finish finish = FINISH_NONE;
    pthread_t thread;
    void *news_at_return;
    client_set_eos_bias(-100);
    assert_int_equal(story_submit(scheduler, &story, &client, true), STATUS_OK);
    client_wait_for_news(&client, 1);
    assert_int_equal(pthread_create(&thread, NULL, detach, &client), 0);
    for (int i = 0; i < 100; i++)
        sched_yield(); /* most likely it waits by now; right either way */
    client_open_gate(&client);
    pthread_join(thread, &news_at_return);
    assert_non_null(news_at_return); /* on_news was over */
    while (finish == FINISH_NONE) { /* without news there is only looking */
        count += generation_take(client.generation, ids + count, 50 - count, &finish);
        sched_yield();
    }
    assert_int_equal(count, 50);
    assert_int_equal(client.news, (int)(intptr_t)news_at_return);
    generation_release(client.generation);
    scheduler_destroy(scheduler);
}

static void test_a_released_story_frees_its_slot(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(1, 1, 1, 8);
    struct story story = story_of(3, 60);
    struct client client, next;
    int32_t ids[POSITIONS];
    int count;
    client_set_eos_bias(-100);
    assert_int_equal(story_submit(scheduler, &story, &client, false), STATUS_OK);
    client_wait_for_news(&client, 1);
    generation_release(client.generation);
    assert_int_equal(story_submit(scheduler, &story, &next, false), STATUS_OK);
    assert_int_equal(client_collect(&next, 60, ids, &count), FINISH_LENGTH);
    assert_int_equal(scheduler_stats(scheduler).finished, 2);
    generation_release(next.generation);
    scheduler_destroy(scheduler);
}

/* ---- stopping -------------------------------------------------------------------- */

struct stopper {
    struct scheduler *scheduler;
    int grace_ms;
};

static void *stop(void *argument) {
    struct stopper *stopper = argument;
    scheduler_stop(stopper->scheduler, stopper->grace_ms);
    return NULL;
}

/* One story running and one waiting when the stop comes; returns how both ended. */
static void stop_amid(int grace_ms, enum finish *ended, int *told) {
    struct scheduler *scheduler = client_scheduler(1, 2, 2, 8);
    struct story story = story_of(3, 30);
    struct client running, waiting, late;
    struct stopper stopper = {scheduler, grace_ms};
    int32_t ids[POSITIONS];
    pthread_t thread;
    client_set_eos_bias(-100);
    assert_int_equal(story_submit(scheduler, &story, &running, true), STATUS_OK);
    client_wait_for_news(&running, 1);
    assert_int_equal(story_submit(scheduler, &story, &waiting, false), STATUS_OK);
    assert_int_equal(pthread_create(&thread, NULL, stop, &stopper), 0);
    while (!scheduler_stats(scheduler).stopping)
        sched_yield();
    assert_false(scheduler_has_room(scheduler));
    assert_int_equal(story_submit(scheduler, &story, &late, false), STATUS_STOPPED);
    client_open_gate(&running);
    pthread_join(thread, NULL);
    told[0] = generation_take(running.generation, ids, POSITIONS, &ended[0]);
    told[1] = generation_take(waiting.generation, ids, POSITIONS, &ended[1]);
    assert_true(waiting.news > 0); /* the end was told, too */
    struct scheduler_stats stats = scheduler_stats(scheduler);
    assert_int_equal(stats.running + stats.waiting, 0);
    assert_int_equal(stats.finished, 2);
    generation_release(running.generation);
    scheduler_destroy(scheduler);
    generation_release(waiting.generation); /* outlives the scheduler */
}

static void test_stop_with_grace_finishes_all(void **state) {
    (void)state;
    enum finish ended[2];
    int told[2];
    stop_amid(1000000, ended, told);
    assert_int_equal(ended[0], FINISH_LENGTH);
    assert_int_equal(ended[1], FINISH_LENGTH);
    assert_int_equal(told[0], 30);
    assert_int_equal(told[1], 30);
}

static void test_stop_at_once_cuts_off(void **state) {
    (void)state;
    enum finish ended[2];
    int told[2];
    stop_amid(0, ended, told);
    assert_int_equal(ended[0], FINISH_SHUTDOWN);
    assert_int_equal(ended[1], FINISH_SHUTDOWN);
    assert_int_equal(told[0], 1); /* what it had when the stop came */
    assert_int_equal(told[1], 0);
}

static void test_a_second_stop_hurries(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(1, 2, 1, 8);
    struct story story = story_of(3, 60);
    struct stopper patient = {scheduler, 1000000};
    struct client client;
    int32_t ids[POSITIONS];
    int count;
    pthread_t thread;
    client_set_eos_bias(-100);
    client_init(&client, false);
    client.delay_ns = 20000000; /* the story takes more than a second */
    struct generation_request request = story_request(&story, &client);
    assert_int_equal(scheduler_submit(scheduler, &request, &client.generation, NULL), STATUS_OK);
    assert_int_equal(pthread_create(&thread, NULL, stop, &patient), 0);
    while (!scheduler_stats(scheduler).stopping)
        sched_yield();
    scheduler_stop(scheduler, 0);
    pthread_join(thread, NULL);
    assert_int_equal(client_collect(&client, 60, ids, &count), FINISH_SHUTDOWN);
    assert_true(count < 60);
    generation_release(client.generation);
    scheduler_destroy(scheduler);
}

static void test_idle_scheduler_stops(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(4, 4, 2, 8);
    assert_true(scheduler_stats(scheduler).idle);
    scheduler_stop(scheduler, 1000000);
    scheduler_stop(scheduler, 0); /* again is fine */
    assert_true(scheduler_stats(scheduler).stopping);
    scheduler_destroy(scheduler);
    scheduler_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eos_ends_and_is_not_a_token),
        cmocka_unit_test(test_special_tokens_are_never_told),
        cmocka_unit_test(test_length_is_cut_to_the_positions),
        cmocka_unit_test(test_wrong_requests_are_refused),
        cmocka_unit_test(test_full_queue_and_cancelled_waiters),
        cmocka_unit_test(test_cancel_takes_effect_within_a_step),
        cmocka_unit_test(test_a_slow_reader_stalls_nobody),
        cmocka_unit_test(test_long_prompts_do_not_stall_others),
        cmocka_unit_test(test_first_come_first_served),
        cmocka_unit_test(test_detach_waits_and_silences),
        cmocka_unit_test(test_a_released_story_frees_its_slot),
        cmocka_unit_test(test_stop_with_grace_finishes_all),
        cmocka_unit_test(test_stop_at_once_cuts_off),
        cmocka_unit_test(test_a_second_stop_hurries),
        cmocka_unit_test(test_idle_scheduler_stops),
    };
    return cmocka_run_group_tests_name("scheduler", tests, client_setup, client_teardown);
}
