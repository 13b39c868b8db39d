/* The scheduler is stopped: at once, with time for what has begun, and for what is to come. */
#include "tests/support/client.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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
static void stop_amid(int grace_ms, struct request_output *ended) {
    struct scheduler *scheduler = client_scheduler(1, 2, 2, 8);
    struct story story = story_of(3, 30);
    struct client running, waiting, late;
    struct stopper stopper = {scheduler, grace_ms};
    pthread_t thread;
    client_set_eos_bias(-100);
    assert_int_equal(story_submit(scheduler, &story, &running, true), STATUS_OK);
    client_wait_for_output(&running, 1);
    assert_int_equal(story_submit(scheduler, &story, &waiting, false), STATUS_OK);
    assert_int_equal(pthread_create(&thread, NULL, stop, &stopper), 0);
    while (!scheduler_stats(scheduler).stopping)
        sched_yield();
    assert_false(scheduler_has_room(scheduler, QUEUE_ALL));
    assert_int_equal(story_submit(scheduler, &story, &late, false), STATUS_STOPPED);
    client_open_gate(&running);
    pthread_join(thread, NULL);
    ended[0] = request_output(running.request);
    ended[1] = request_output(waiting.request);
    assert_true(waiting.outputs > 0); /* the end was an output, too */
    struct scheduler_stats stats = scheduler_stats(scheduler);
    assert_int_equal(stats.running + stats.waiting, 0);
    assert_int_equal(stats.finished, 2);
    request_release(running.request);
    scheduler_destroy(scheduler);
    request_release(waiting.request); /* outlives the scheduler */
}

static void test_stop_with_grace_finishes_all(void **state) {
    (void)state;
    struct request_output ended[2];
    stop_amid(1000000, ended);
    assert_int_equal(ended[0].finish, FINISH_LENGTH);
    assert_int_equal(ended[1].finish, FINISH_LENGTH);
    assert_int_equal(ended[0].count, 30);
    assert_int_equal(ended[1].count, 30);
}

static void test_stop_at_once_cuts_off(void **state) {
    (void)state;
    struct request_output ended[2];
    stop_amid(0, ended);
    assert_int_equal(ended[0].finish, FINISH_SHUTDOWN);
    assert_int_equal(ended[1].finish, FINISH_SHUTDOWN);
    assert_int_equal(ended[0].count, 1); /* what it had when the stop came */
    assert_int_equal(ended[1].count, 0);
}

static void test_a_second_stop_hurries(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(1, 2, 1, 8);
    struct story story = story_of(3, 60);
    struct stopper patient = {scheduler, 1000000};
    struct client client;
    pthread_t thread;
    client_set_eos_bias(-100);
    client_init(&client, false);
    client.delay_ns = 20000000; /* the story takes more than a second */
    struct request_params params = story_params(&story, &client);
    assert_int_equal(scheduler_submit(scheduler, &params, &client.request, NULL), STATUS_OK);
    assert_int_equal(pthread_create(&thread, NULL, stop, &patient), 0);
    while (!scheduler_stats(scheduler).stopping)
        sched_yield();
    scheduler_stop(scheduler, 0);
    pthread_join(thread, NULL);
    struct request_output output = client_collect(&client);
    assert_int_equal(output.finish, FINISH_SHUTDOWN);
    assert_true(output.count < 60);
    request_release(client.request);
    scheduler_destroy(scheduler);
}

static enum status submit(struct scheduler *scheduler, const struct request_params *params,
                          struct client *client) {
    pthread_mutex_lock(&client->lock); /* as in story_submit() */
    enum status status = scheduler_submit(scheduler, params, &client->request, NULL);
    pthread_mutex_unlock(&client->lock);
    return status;
}

/* Takes all but `missing` of the five that the first announces, those after a stop has begun. */
static void stop_before_the_announced(int missing) {
    struct scheduler *scheduler = client_scheduler(1, 4, 1, 8);
    struct story story = story_of(3, 5);
    struct client clients[6], late;
    struct stopper patient = {scheduler, 1000000};
    pthread_t thread;
    client_set_eos_bias(-100);
    for (int i = 0; i < 6 - missing; i++) {
        client_init(&clients[i], false);
        struct request_params params = story_params(&story, &clients[i]);
        params.queue_share = i == 0 ? QUEUE_ALL : QUEUE_HALF;
        params.to_follow = i == 0 ? 5 : 0;
        params.announced = i > 0;
        assert_int_equal(submit(scheduler, &params, &clients[i]), STATUS_OK);
        assert_int_equal(client_collect(&clients[i]).finish, FINISH_LENGTH);
        if (i > 0)
            continue;
        assert_int_equal(pthread_create(&thread, NULL, stop, &patient), 0);
        while (!scheduler_stats(scheduler).stopping)
            sched_yield();
        assert_int_equal(story_submit(scheduler, &story, &late, false), STATUS_STOPPED);
        assert_true(scheduler_has_room(scheduler, QUEUE_HALF));
    }
    scheduler_retract(scheduler, missing);
    pthread_join(thread, NULL);
    assert_false(scheduler_has_room(scheduler, QUEUE_HALF));
    for (int i = 0; i < 6 - missing; i++)
        request_release(clients[i].request);
    scheduler_destroy(scheduler);
}

static void test_a_stop_waits_for_announced_requests(void **state) {
    (void)state;
    stop_before_the_announced(0);
}

static void test_a_stop_does_not_wait_for_retracted_requests(void **state) {
    (void)state;
    stop_before_the_announced(3);
}

static void test_a_stop_waits_for_announced_requests_as_long_as_its_time(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(1, 4, 1, 8);
    struct story story = story_of(3, 5);
    struct client first, late;
    client_init(&first, false);
    client_init(&late, false);
    struct request_params params = story_params(&story, &first);
    params.to_follow = 1;
    assert_int_equal(submit(scheduler, &params, &first), STATUS_OK);
    client_collect(&first);
    scheduler_stop(scheduler, 20);
    params = story_params(&story, &late);
    params.announced = true;
    assert_int_equal(submit(scheduler, &params, &late), STATUS_STOPPED);
    request_release(first.request);
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
        cmocka_unit_test(test_stop_with_grace_finishes_all),
        cmocka_unit_test(test_stop_at_once_cuts_off),
        cmocka_unit_test(test_a_second_stop_hurries),
        cmocka_unit_test(test_a_stop_waits_for_announced_requests),
        cmocka_unit_test(test_a_stop_does_not_wait_for_retracted_requests),
        cmocka_unit_test(test_a_stop_waits_for_announced_requests_as_long_as_its_time),
        cmocka_unit_test(test_idle_scheduler_stops),
    };
    return cmocka_run_group_tests_name("scheduler stop", tests, client_setup, client_teardown);
}
