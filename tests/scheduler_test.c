/* The scheduler: limits, the ways a story ends, waiting, canceling. */
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
static enum finish_reason run_one(struct scheduler *scheduler, const struct story *story,
                                  int32_t *ids, int *count, struct request_usage *usage) {
    struct client client;
    struct error err = {0};
    client_init(&client, false);
    struct request_params params = story_params(story, &client);
    if (scheduler_submit(scheduler, &params, &client.request, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    struct request_output output = client_collect(&client);
    memcpy(ids, output.ids, (size_t)output.count * sizeof *ids);
    *count = output.count;
    if (usage)
        *usage = request_usage(client.request);
    request_release(client.request);
    return output.finish;
}

static void test_eos_ends_and_is_not_a_token(void **state) {
    (void)state;
    int32_t ids[POSITIONS];
    int count;
    struct request_usage usage;
    struct scheduler *scheduler = client_scheduler(2, 2, 1, 16);
    struct story story = story_of(3, 20);
    client_set_eos_bias(100);
    assert_int_equal(run_one(scheduler, &story, ids, &count, &usage), FINISH_STOP);
    assert_int_equal(count, 0);
    assert_int_equal(usage.prompt_tokens, 3);
    assert_int_equal(usage.completion_tokens, 0);
    assert_true(usage.prefill_ns > 0);
    assert_int_equal(usage.decode_ns, 0);
    scheduler_destroy(scheduler);
}

static void test_special_tokens_are_never_generated(void **state) {
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
    enum finish_reason finish = run_one(scheduler, &story, ids, &count, NULL);
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
        int prompt, max_tokens, generated;
    } cases[] = {{1, 5, 5}, {1, 1000000, POSITIONS - 1}, {POSITIONS - 1, 9, 1}, {40, 24, 24},
                 {40, 25, 24}};
    int32_t ids[POSITIONS];
    int count;
    struct scheduler *scheduler = client_scheduler(2, 2, 2, 8);
    client_set_eos_bias(-100);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct story story = story_of(cases[i].prompt, cases[i].max_tokens);
        struct request_usage usage;
        assert_int_equal(run_one(scheduler, &story, ids, &count, &usage), FINISH_LENGTH);
        assert_int_equal(count, cases[i].generated);
        assert_int_equal(usage.completion_tokens, cases[i].generated);
        assert_true(usage.prefill_ns > 0 && (count == 1) == (usage.decode_ns == 0));
    }
    scheduler_destroy(scheduler);
}

static void test_wrong_requests_are_refused(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(1, 1, 1, 8);
    struct story good = story_of(3, 5), story;
    int top = 0;
    struct request *request;
    struct error err;
#define REFUSED(change, name)                                                                      \
    do {                                                                                           \
        story = good;                                                                              \
        change;                                                                                    \
        struct request_params params = story_params(&story, NULL);                                 \
        params.logprobs = true;                                                                    \
        params.top_logprobs = top;                                                                 \
        assert_int_equal(scheduler_submit(scheduler, &params, &request, &err), STATUS_INVALID);    \
        assert_string_equal(err.field, name);                                                      \
        assert_null(request);                                                                      \
    } while (0)
    REFUSED(story.prompt_count = 0, "prompt");
    REFUSED(story.prompt_count = POSITIONS, "prompt");
    REFUSED(story.prompt[2] = VOCAB, "prompt");
    REFUSED(story.prompt[0] = -1, "prompt");
    REFUSED(story.max_tokens = -1, "max_tokens");
    REFUSED(story.sampling.temperature = NAN, "temperature");
    REFUSED(story.sampling.top_p = 2, "top_p");
    const struct logit_bias bias = {VOCAB, 1};
    REFUSED((story.sampling.biases = &bias, story.sampling.bias_count = 1), "logit_bias");
    REFUSED(top = TOP_LOGPROBS_MAX + 1, "logprobs");
    REFUSED(top = -1, "logprobs");
#undef REFUSED
    assert_int_equal(scheduler_stats(scheduler).finished, 0);
    scheduler_destroy(scheduler);

    static const struct scheduler_options wrong[] = {
        {.slots = 0, .queue = 1, .threads = 1, .prefill_chunk = 8},
        {.slots = 1, .queue = -1, .threads = 1, .prefill_chunk = 8},
        {.slots = 1, .queue = 1, .threads = -1, .prefill_chunk = 8},
        {.slots = 1, .queue = 1, .threads = 1, .prefill_chunk = 0},
        {.slots = 1, .queue = 1, .threads = 1, .prefill_chunk = 8, .draft_tokens = 17}};
    static const char *const fields[] = {"slots", "queue", "threads", "prefill_chunk",
                                         "draft_tokens"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(scheduler_create(&scheduler, client_model(), &wrong[i], &err),
                         STATUS_INVALID);
        assert_string_equal(err.field, fields[i]);
        assert_null(scheduler);
    }
}

/* ---- waiting, canceling, leaving ------------------------------------------------ */

/* One slot and two places behind it. */
static void test_shares_of_the_queue(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(1, 2, 1, 8);
    struct story story = story_of(3, 10);
    struct client clients[5];
    static const struct {
        enum queue_share share;
        enum status expected;
    } steps[] = {{QUEUE_HALF, STATUS_OK}, {QUEUE_HALF, STATUS_BUSY}, {QUEUE_ALL, STATUS_OK},
                 {QUEUE_ALL, STATUS_BUSY}, {QUEUE_BEYOND, STATUS_OK}};
    client_set_eos_bias(-100);
    assert_true(scheduler_has_room(scheduler, QUEUE_HALF));
    struct client running;
    assert_int_equal(story_submit(scheduler, &story, &running, true), STATUS_OK);
    client_wait_for_output(&running, 1); /* from here the scheduler stands still */
    for (int i = 0; i < 5; i++) {
        struct request_params params = story_params(&story, &clients[i]);
        params.queue_share = steps[i].share;
        client_init(&clients[i], false);
        assert_int_equal(scheduler_has_room(scheduler, steps[i].share),
                         steps[i].expected == STATUS_OK);
        assert_int_equal(scheduler_submit(scheduler, &params, &clients[i].request, NULL),
                         steps[i].expected);
    }
    client_open_gate(&running);
    for (int i = 0; i < 5; i++) {
        if (!clients[i].request)
            continue;
        assert_int_equal(client_collect(&clients[i]).finish, FINISH_LENGTH);
        request_release(clients[i].request);
    }
    request_release(running.request);
    scheduler_destroy(scheduler);
}

static void test_no_tokens_at_all_still_read_the_prompt(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(2, 2, 2, 4);
    struct story story = story_of(20, 0), next = story_of(20, 1);
    struct client client;
    struct request_params params = story_params(&story, &client);
    params.logprobs = params.prompt_logprobs = true;
    for (int i = 0; i < 2; i++) {
        client_init(&client, false);
        assert_int_equal(scheduler_submit(scheduler, &params, &client.request, NULL), STATUS_OK);
        struct request_output output = client_collect(&client);
        assert_int_equal(output.finish, FINISH_LENGTH);
        assert_int_equal(output.count, 0);
        struct request_usage usage = request_usage(client.request);
        assert_int_equal(usage.completion_tokens, 0);
        assert_int_equal(usage.cached_tokens, 0); /* as all its rows' logits are wanted */
        assert_true(usage.prefill_ns > 0);
        for (int t = 1; t < 20; t++)
            assert_true(request_prompt_logprobs(client.request, t)->own < 0);
        request_release(client.request);
    }
    assert_int_equal(scheduler_stats(scheduler).generated_tokens, 0);
    assert_int_equal(scheduler_stats(scheduler).prompt_tokens, 40);
    assert_int_equal(story_submit(scheduler, &next, &client, false), STATUS_OK);
    client_collect(&client);
    assert_int_equal(request_usage(client.request).cached_tokens, 19); /* all but the last */
    request_release(client.request);
    scheduler_destroy(scheduler);
}

/* The submitter's biases may go at once. */
static void test_a_request_keeps_its_biases(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(1, 1, 1, 8);
    struct story story = story_of(3, 6);
    struct client running, biased;
    struct logit_bias biases[] = {{9, 100}, {EOS, -100}};
    client_set_eos_bias(-100);
    assert_int_equal(story_submit(scheduler, &story, &running, true), STATUS_OK);
    client_wait_for_output(&running, 1); /* the other is still waiting */
    story.sampling.biases = biases;
    story.sampling.bias_count = 2;
    assert_int_equal(story_submit(scheduler, &story, &biased, false), STATUS_OK);
    biases[0] = biases[1] = (struct logit_bias){VOCAB, NAN};
    client_open_gate(&running);
    client_collect(&running);
    struct request_output output = client_collect(&biased);
    assert_int_equal(output.count, 6);
    for (int i = 0; i < 6; i++)
        assert_int_equal(output.ids[i], 9);
    request_release(running.request);
    request_release(biased.request);
    scheduler_destroy(scheduler);
}

static void test_full_queue_and_cancelled_waiters(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(1, 2, 1, 8);
    struct story story = story_of(3, 10);
    struct client running, first, second, third;
    client_set_eos_bias(-100);
    assert_true(scheduler_has_room(scheduler, QUEUE_ALL));
    assert_int_equal(story_submit(scheduler, &story, &running, true), STATUS_OK);
    client_wait_for_output(&running, 1); /* from here the scheduler stands still */
    assert_int_equal(story_submit(scheduler, &story, &first, false), STATUS_OK);
    assert_true(scheduler_has_room(scheduler, QUEUE_ALL));
    assert_int_equal(story_submit(scheduler, &story, &second, false), STATUS_OK);
    assert_false(scheduler_has_room(scheduler, QUEUE_ALL));
    assert_int_equal(story_submit(scheduler, &story, &third, false), STATUS_BUSY);
    assert_null(third.request);
    assert_int_equal(scheduler_stats(scheduler).waiting, 2);
    assert_int_equal(scheduler_stats(scheduler).running, 1);

    request_cancel(first.request);
    client_open_gate(&running);
    struct request_output output = client_collect(&first);
    assert_int_equal(output.finish, FINISH_CANCELLED);
    assert_int_equal(output.count, 0);
    assert_int_equal(request_usage(first.request).prefill_ns, 0);
    assert_int_equal(client_collect(&running).finish, FINISH_LENGTH);
    output = client_collect(&second);
    assert_int_equal(output.finish, FINISH_LENGTH);
    assert_int_equal(output.count, 10);
    assert_true(request_usage(second.request).queued_ns > 0);
    assert_true(scheduler_has_room(scheduler, QUEUE_ALL));
    request_release(running.request);
    request_release(first.request);
    request_release(second.request);
    scheduler_destroy(scheduler);
}

static void test_cancel_takes_effect_within_a_step(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(2, 2, 2, 8);
    struct story story = story_of(3, 50);
    struct client client;
    client_set_eos_bias(-100);
    client_init(&client, false);
    client.cancel_after = 4;
    struct request_params params = story_params(&story, &client);
    pthread_mutex_lock(&client.lock);
    assert_int_equal(scheduler_submit(scheduler, &params, &client.request, NULL), STATUS_OK);
    pthread_mutex_unlock(&client.lock);
    struct request_output output = client_collect(&client);
    assert_int_equal(output.finish, FINISH_CANCELLED);
    assert_int_equal(output.count, 4);
    assert_int_equal(scheduler_stats(scheduler).running, 0);
    request_cancel(client.request); /* harmless when over */
    request_release(client.request);
    scheduler_destroy(scheduler);
}

static void test_a_slow_reader_stalls_nobody(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(2, 2, 1, 8);
    struct story story = story_of(3, 50), other = story_of(5, 50);
    struct client slow, quick;
    int32_t ids[POSITIONS];
    int count;
    client_set_eos_bias(-100);
    assert_int_equal(story_submit(scheduler, &story, &slow, false), STATUS_OK);
    assert_int_equal(story_submit(scheduler, &other, &quick, false), STATUS_OK);
    assert_int_equal(client_collect(&quick).finish, FINISH_LENGTH);
    client_wait_for_output(&slow, 50); /* it ends though nothing was read */
    assert_int_equal(scheduler_stats(scheduler).running, 0);
    struct request_output output = request_output(slow.request);
    assert_int_equal(output.count, 50);
    assert_int_equal(output.finish, FINISH_LENGTH);
    assert_int_equal(run_one(scheduler, &story, ids, &count, NULL), FINISH_LENGTH);
    assert_memory_equal(output.ids, ids, sizeof *ids * 50);
    request_release(slow.request);
    request_release(quick.request);
    scheduler_destroy(scheduler);
}

/* Reads while the scheduler writes: what was published once stays as it is and where it is. */
static void test_output_only_grows(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(2, 2, 1, 8);
    struct story story = story_of(3, 60);
    struct client client;
    int32_t seen[POSITIONS];
    int count = 0;
    struct request_output output;
    client_set_eos_bias(-100);
    assert_int_equal(story_submit(scheduler, &story, &client, false), STATUS_OK);
    const int32_t *ids = request_output(client.request).ids;
    do {
        output = request_output(client.request);
        assert_ptr_equal(output.ids, ids);
        assert_true(output.count >= count);
        assert_memory_equal(output.ids, seen, sizeof *seen * (size_t)count);
        for (; count < output.count; count++)
            seen[count] = output.ids[count];
        struct request_usage usage = request_usage(client.request);
        assert_true(usage.decode_ns < UINT64_C(1) << 60); /* the times are of one moment, or 0 */
        assert_true(usage.prefill_ns < UINT64_C(1) << 60);
    } while (output.finish == FINISH_NONE);
    assert_int_equal(count, 60);
    request_release(client.request);
    scheduler_destroy(scheduler);
}

static void test_long_prompts_do_not_stall_others(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(2, 2, 1, 2);
    struct story writer = story_of(3, 60), reader = story_of(40, 1);
    struct client writing, reading;
    client_set_eos_bias(-100);
    assert_int_equal(story_submit(scheduler, &writer, &writing, true), STATUS_OK);
    client_wait_for_output(&writing, 1);
    client_init(&reading, false);
    reading.watched = writing.request;
    struct request_params params = story_params(&reader, &reading);
    assert_int_equal(scheduler_submit(scheduler, &params, &reading.request, NULL), STATUS_OK);
    client_open_gate(&writing);
    assert_int_equal(client_collect(&reading).finish, FINISH_LENGTH);
    /* 40 prompt rows, two a step, are 20 steps; each also gave the other story a token. */
    assert_int_equal(reading.watched_tokens, 1 + 20);
    struct request_output output = client_collect(&writing);
    assert_int_equal(output.finish, FINISH_LENGTH);
    assert_int_equal(output.count, 60);
    request_release(writing.request);
    request_release(reading.request);
    scheduler_destroy(scheduler);
}

static void test_first_come_first_served(void **state) {
    (void)state;
    enum { WAITING = 5 };
    struct scheduler *scheduler = client_scheduler(1, WAITING, 1, 8);
    struct story story = story_of(3, 6);
    struct client running, waiting[WAITING];
    client_set_eos_bias(-100);
    assert_int_equal(story_submit(scheduler, &story, &running, true), STATUS_OK);
    client_wait_for_output(&running, 1);
    for (int i = 0; i < WAITING; i++) {
        client_init(&waiting[i], false);
        waiting[i].watched = i ? waiting[i - 1].request : running.request;
        struct request_params params = story_params(&story, &waiting[i]);
        assert_int_equal(scheduler_submit(scheduler, &params, &waiting[i].request, NULL),
                         STATUS_OK);
    }
    client_open_gate(&running);
    for (int i = WAITING - 1; i >= 0; i--) {
        assert_int_equal(client_collect(&waiting[i]).finish, FINISH_LENGTH);
        assert_int_equal(waiting[i].watched_tokens, 6); /* the one before was through */
    }
    for (int i = 0; i < WAITING; i++)
        request_release(waiting[i].request);
    request_release(running.request);
    scheduler_destroy(scheduler);
}

static void *detach(void *argument) {
    struct client *client = argument;
    request_detach(client->request);
    pthread_mutex_lock(&client->lock);
    bool inside = client->inside;
    int outputs = client->outputs;
    pthread_mutex_unlock(&client->lock);
    return inside ? NULL : (void *)(intptr_t)outputs;
}

static void test_detach_waits_and_silences(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(2, 2, 1, 8);
    struct story story = story_of(3, 50);
    struct client client;
    pthread_t thread;
    void *outputs_at_return;
    client_set_eos_bias(-100);
    assert_int_equal(story_submit(scheduler, &story, &client, true), STATUS_OK);
    client_wait_for_output(&client, 1);
    assert_int_equal(pthread_create(&thread, NULL, detach, &client), 0);
    for (int i = 0; i < 100; i++)
        sched_yield(); /* most likely it waits by now; right either way */
    client_open_gate(&client);
    pthread_join(thread, &outputs_at_return);
    assert_non_null(outputs_at_return); /* on_output was over */
    while (request_output(client.request).finish == FINISH_NONE)
        sched_yield(); /* without calls there is only looking */
    assert_int_equal(request_output(client.request).count, 50);
    assert_int_equal(client.outputs, (int)(intptr_t)outputs_at_return);
    request_release(client.request);
    scheduler_destroy(scheduler);
}

static void test_a_released_story_frees_its_slot(void **state) {
    (void)state;
    struct scheduler *scheduler = client_scheduler(1, 1, 1, 8);
    struct story story = story_of(3, 60);
    struct client client, next;
    client_set_eos_bias(-100);
    assert_int_equal(story_submit(scheduler, &story, &client, false), STATUS_OK);
    client_wait_for_output(&client, 1);
    request_release(client.request);
    assert_int_equal(story_submit(scheduler, &story, &next, false), STATUS_OK);
    assert_int_equal(client_collect(&next).finish, FINISH_LENGTH);
    assert_int_equal(scheduler_stats(scheduler).finished, 2);
    request_release(next.request);
    scheduler_destroy(scheduler);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eos_ends_and_is_not_a_token),
        cmocka_unit_test(test_special_tokens_are_never_generated),
        cmocka_unit_test(test_length_is_cut_to_the_positions),
        cmocka_unit_test(test_wrong_requests_are_refused),
        cmocka_unit_test(test_shares_of_the_queue),
        cmocka_unit_test(test_no_tokens_at_all_still_read_the_prompt),
        cmocka_unit_test(test_a_request_keeps_its_biases),
        cmocka_unit_test(test_full_queue_and_cancelled_waiters),
        cmocka_unit_test(test_cancel_takes_effect_within_a_step),
        cmocka_unit_test(test_a_slow_reader_stalls_nobody),
        cmocka_unit_test(test_output_only_grows),
        cmocka_unit_test(test_long_prompts_do_not_stall_others),
        cmocka_unit_test(test_first_come_first_served),
        cmocka_unit_test(test_detach_waits_and_silences),
        cmocka_unit_test(test_a_released_story_frees_its_slot),
    };
    return cmocka_run_group_tests_name("scheduler", tests, client_setup, client_teardown);
}
