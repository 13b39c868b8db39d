/* A scheduler without a thread: its steps run in scheduler_step(), and only there. */
#include "tests/support/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct scheduler *create_stepped(int slots) {
    struct scheduler_options options = {
        .slots = slots, .queue = 4, .threads = 1, .prefill_chunk = 8, .stepped = true};
    struct scheduler *scheduler;
    assert_int_equal(scheduler_create(&scheduler, client_model(), &options, NULL), STATUS_OK);
    return scheduler;
}

static void test_steps_generate_what_the_thread_generates(void **state) {
    (void)state;
    struct scheduler *stepped = create_stepped(2), *threaded = client_scheduler(2, 4, 1, 8);
    struct client clients[3], others[3];
    client_set_eos_bias(-100);
    for (int i = 0; i < 3; i++) {
        struct story story = story_of(5 + 7 * i, 20);
        story.sampling.seed = (uint64_t)i;
        assert_int_equal(story_submit(stepped, &story, &clients[i], false), STATUS_OK);
        assert_int_equal(story_submit(threaded, &story, &others[i], false), STATUS_OK);
    }
    assert_int_equal(scheduler_stats(stepped).steps, 0);
    assert_int_equal(clients[0].outputs, 0);
    assert_true(scheduler_step(stepped));
    assert_int_equal(scheduler_stats(stepped).steps, 1);
    assert_int_equal(clients[0].outputs, 1);
    while (scheduler_step(stepped)) {
    }
    assert_false(scheduler_step(stepped));
    for (int i = 0; i < 3; i++) {
        struct request_output output = request_output(clients[i].request);
        struct request_output other = client_collect(&others[i]);
        assert_int_equal(output.finish, FINISH_LENGTH);
        assert_int_equal(output.count, 20);
        assert_int_equal(other.count, 20);
        assert_memory_equal(output.ids, other.ids, 20 * sizeof *output.ids);
        request_release(clients[i].request);
        request_release(others[i].request);
    }
    scheduler_destroy(stepped);
    scheduler_destroy(threaded);
}

static void test_a_cancelled_request_leaves_in_the_next_step(void **state) {
    (void)state;
    struct scheduler *scheduler = create_stepped(1);
    struct story story = story_of(3, 50);
    struct client client;
    client_set_eos_bias(-100);
    assert_int_equal(story_submit(scheduler, &story, &client, false), STATUS_OK);
    scheduler_step(scheduler);
    request_cancel(client.request);
    scheduler_step(scheduler);
    assert_int_equal(request_output(client.request).finish, FINISH_CANCELLED);
    assert_int_equal(request_output(client.request).count, 1);
    assert_false(scheduler_step(scheduler));
    request_release(client.request);
    scheduler_destroy(scheduler);
}

static void test_a_stop_runs_what_is_left(void **state) {
    (void)state;
    struct scheduler *scheduler = create_stepped(1);
    struct story story = story_of(3, 10);
    struct client first, second;
    client_set_eos_bias(-100);
    assert_int_equal(story_submit(scheduler, &story, &first, false), STATUS_OK);
    assert_int_equal(story_submit(scheduler, &story, &second, false), STATUS_OK);
    scheduler_stop(scheduler, 1000000);
    assert_int_equal(request_output(first.request).finish, FINISH_LENGTH);
    assert_int_equal(request_output(second.request).finish, FINISH_LENGTH);
    request_release(first.request);
    request_release(second.request);
    assert_int_equal(story_submit(scheduler, &story, &first, false), STATUS_STOPPED);
    scheduler_destroy(scheduler);
}

static void test_destruction_cuts_off(void **state) {
    (void)state;
    struct scheduler *scheduler = create_stepped(1);
    struct story story = story_of(3, 10);
    struct client running, waiting;
    assert_int_equal(story_submit(scheduler, &story, &running, false), STATUS_OK);
    assert_int_equal(story_submit(scheduler, &story, &waiting, false), STATUS_OK);
    scheduler_step(scheduler);
    scheduler_destroy(scheduler);
    assert_int_equal(request_output(running.request).finish, FINISH_SHUTDOWN);
    assert_int_equal(request_output(waiting.request).finish, FINISH_SHUTDOWN);
    request_release(running.request);
    request_release(waiting.request);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps_generate_what_the_thread_generates),
        cmocka_unit_test(test_a_cancelled_request_leaves_in_the_next_step),
        cmocka_unit_test(test_a_stop_runs_what_is_left),
        cmocka_unit_test(test_destruction_cuts_off),
    };
    return cmocka_run_group_tests_name("stepped scheduler", tests, client_setup, client_teardown);
}
