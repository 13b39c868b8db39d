/* Completions and requests for them without HTTP: text from tokens, stop strings, canceling. */
#include "engine/completion.h"
#include "server/api/completion_request.h"
#include "tokenizer/utf8.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOKENIZER "tests/data/tokenizer_small.model"

static struct engine engine;

/* A model that knows nothing writes nonsense, which is all that is needed here. */
static int open_engine(void **state) {
    (void)state;
    struct error err = {0};
    struct scheduler_options options = {.slots = 4, .queue = 8, .threads = 2, .prefill_chunk = 16};
    enum status status = tokenizer_load(&engine.tokenizer, TOKENIZER, &err);
    struct tokenizer_specials specials = {0};
    if (status == STATUS_OK)
        specials = tokenizer_specials(engine.tokenizer);
    struct model_config config = {.d_model = 32, .heads = 2, .d_ff = 32, .layers = 1,
                                  .positions = 96, .norm_eps = 1e-5f,
                                  .unk_id = specials.unk, .bos_id = specials.bos,
                                  .eos_id = specials.eos, .pad_id = specials.pad};
    if (status == STATUS_OK) {
        config.vocab = (int)tokenizer_vocab_size(engine.tokenizer);
        status = model_create(&engine.model, &config, &err);
    }
    if (status == STATUS_OK) {
        model_initialize(engine.model, 5);
        status = scheduler_create(&engine.scheduler, engine.model, &options, &err);
    }
    snprintf(engine.name, sizeof engine.name, "nonsense");
    if (status != STATUS_OK)
        print_error("%s\n", err.message);
    return status != STATUS_OK;
}

static int close_engine(void **state) {
    (void)state;
    engine_close(&engine);
    return 0;
}

/* ---- waiting for output ------------------------------------------------------------ */

struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rung;
    int count;      /* of rings not yet waited for */
    int rings, ends; /* in all, and of those the ones that said so */
    bool every_token; /* else it rings at the end alone */
};

static void ring(void *context, bool ended) {
    struct bell *bell = context;
    pthread_mutex_lock(&bell->lock);
    bell->count++;
    bell->rings++;
    bell->ends += ended;
    pthread_cond_signal(&bell->rung);
    pthread_mutex_unlock(&bell->lock);
}

static void wait_ring(struct bell *bell) {
    pthread_mutex_lock(&bell->lock);
    while (bell->count == 0)
        pthread_cond_wait(&bell->rung, &bell->lock);
    bell->count = 0;
    pthread_mutex_unlock(&bell->lock);
}


#define BELL {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, false}

static void on_output(void *context, enum finish_reason finish, uint64_t gap_ns) {
    const struct bell *bell = context;
    (void)gap_ns;
    if (bell->every_token || finish != FINISH_NONE)
        ring(context, finish != FINISH_NONE);
}

static struct completion start(const char *prompt, uint64_t seed, int max_tokens,
                               const char *const *stops, int stop_count, struct bell *bell) {
    struct token_list ids = {0};
    struct completion completion = {0};
    struct error err = {0};
    struct completion_params params = {
        .request = {.max_tokens = max_tokens,
                    .sampling = sampling_defaults(),
                    .on_output = on_output,
                    .context = bell},
        .continues = completion_continues(prompt, strlen(prompt)),
        .stop_count = stop_count,
    };
    params.request.sampling.seed = seed;
    params.request.sampling.temperature = 1;
    for (int i = 0; i < stop_count; i++)
        params.stops[i] = stops[i];
    enum status status = engine_read_prompt(&engine, prompt, strlen(prompt), false, &ids, &err);
    params.request.prompt = ids.ids;
    params.request.prompt_count = (int)ids.count;
    if (status == STATUS_OK)
        status = completion_start(&completion, &engine, &params, &err);
    if (status != STATUS_OK)
        fail_msg("%s", err.message);
    token_list_free(&ids);
    return completion;
}

/* Advances to the end. What was certain must stay, and must be whole UTF-8 at every moment. */
static enum finish_reason finish(struct completion *completion, struct bell *bell, char *text,
                                 size_t size) {
    struct error err = {0};
    size_t seen = 0;
    for (;;) {
        assert_int_equal(completion_advance(completion, &err), STATUS_OK);
        size_t bytes;
        const char *now = completion_text(completion, &bytes);
        assert_true(bytes >= seen && bytes < size);
        assert_memory_equal(now, text, seen);
        memcpy(text + seen, now + seen, bytes - seen);
        for (size_t length; seen < bytes; seen += length) {
            length = utf8_length(now + seen, bytes - seen);
            assert_true(length > 0);
        }
        if (completion->finish != FINISH_NONE)
            break;
        wait_ring(bell);
    }
    text[seen] = '\0';
    return completion->finish;
}

/* One to its end; returns the tokens that its text took. */
static int complete(const char *prompt, uint64_t seed, const char *const *stops, int stop_count,
                    struct bell *bell, char *text, size_t size) {
    struct completion completion = start(prompt, seed, 24, stops, stop_count, bell);
    enum finish_reason end = finish(&completion, bell, text, size);
    int tokens = completion.decoded;
    assert_true(stop_count == 0 || end == FINISH_STOP);
    completion_free(&completion);
    return tokens;
}

static void wait_until_idle(void) {
    struct scheduler_stats stats;
    do {
        sched_yield();
        stats = scheduler_stats(engine.scheduler);
    } while (stats.running + stats.waiting > 0);
}

/* ---- the tests ------------------------------------------------------------------- */

static void test_output_at_the_end_alone_is_enough(void **state) {
    (void)state;
    char all[4096], at_end[4096];
    struct bell bell = BELL;
    for (uint64_t seed = 0; seed < 20; seed++) {
        bell.every_token = true;
        struct completion each = start("the cat", seed, 1000, NULL, 0, &bell);
        enum finish_reason end = finish(&each, &bell, all, sizeof all);
        int tokens = each.decoded;
        completion_free(&each); /* after which it rings no more */
        assert_true(bell.ends <= 1);
        bell.rings = bell.ends = 0;
        bell.every_token = false;
        struct completion whole = start("the cat", seed, 1000, NULL, 0, &bell);
        assert_int_equal(finish(&whole, &bell, at_end, sizeof at_end), end);
        assert_string_equal(all, at_end);
        assert_int_equal(tokens, whole.decoded);
        assert_int_equal(request_usage(whole.request).completion_tokens, tokens);
        completion_free(&whole);
        assert_true(bell.rings == bell.ends && bell.ends <= 1);
        bell.rings = bell.ends = 0;
    }
}

static bool is_inside_character(const char *text) {
    return ((unsigned char)*text & 0xc0) == 0x80;
}

/* Every piece of a completion, of every length, as a stop string. */
static void test_a_completion_ends_before_its_stop_string(void **state) {
    (void)state;
    char whole[4096], cut[4096], expected[4096];
    struct bell bell = BELL;
    bell.every_token = true;
    int tokens = complete("a dog", 9, NULL, 0, &bell, whole, sizeof whole);
    assert_true(strlen(whole) > 40);
    for (size_t length = 1; length <= 13; length += 4)
        for (size_t at = 0; at + length <= 40; at++) {
            char stop[16];
            if (is_inside_character(whole + at) || is_inside_character(whole + at + length))
                continue; /* clients' stop strings are UTF-8 */
            snprintf(stop, sizeof stop, "%.*s", (int)length, whole + at);
            const char *stops[] = {"\xe2\x98\x83 not in there", stop};
            assert_true(complete("a dog", 9, stops, 2, &bell, cut, sizeof cut) <= tokens);
            strcpy(expected, whole);
            *strstr(expected, stop) = '\0';
            assert_string_equal(cut, expected);
        }
}

static void test_the_earliest_of_several_stop_strings_counts(void **state) {
    (void)state;
    char whole[4096], cut[4096], first[8], second[8];
    struct bell bell = BELL;
    bell.every_token = true;
    complete("a dog", 3, NULL, 0, &bell, whole, sizeof whole);
    snprintf(first, sizeof first, "%.6s", whole + 20);
    snprintf(second, sizeof second, "%.4s", whole + 11);
    const char *stops[] = {first, second, "never, never", first};
    complete("a dog", 3, stops, 4, &bell, cut, sizeof cut);
    *strstr(whole, second) = '\0';
    assert_string_equal(cut, whole);
}

static void test_a_cancelled_completion_ends(void **state) {
    (void)state;
    char text[4096];
    struct bell bell = BELL;
    bell.every_token = true;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct completion completion = start("the", seed, 1000, NULL, 0, &bell);
        assert_int_equal(completion_advance(&completion, NULL), STATUS_OK); /* output before start
                                                                               returned */
        if (seed % 3 && completion.finish == FINISH_NONE)
            wait_ring(&bell);
        request_cancel(completion.request);
        enum finish_reason end = finish(&completion, &bell, text, sizeof text);
        assert_true(end == FINISH_CANCELLED || end == FINISH_STOP || end == FINISH_LENGTH);
        completion_free(&completion);
    }
}

static void test_a_completion_may_be_dropped_at_any_moment(void **state) {
    (void)state;
    struct bell bell = BELL;
    for (uint64_t seed = 0; seed < 50; seed++) {
        /* The dropped ones go with the next step. */
        while (!scheduler_has_room(engine.scheduler, QUEUE_ALL))
            sched_yield();
        struct completion completion = start("the", seed, 1000, NULL, 0, &bell);
        completion_free(&completion);
    }
    wait_until_idle();
}

static void test_prompts_are_measured_in_tokens(void **state) {
    (void)state;
    struct token_list ids;
    struct error err = {0};
    char text[1024] = "";
    for (int i = 0; i < 200; i++)
        strcat(text, "a ");
    assert_int_equal(engine_read_prompt(&engine, text, strlen(text), false, &ids, &err),
                     STATUS_INVALID);
    assert_string_equal(err.field, "prompt");
    assert_non_null(strstr(err.message, "201"));
    assert_non_null(strstr(err.message, "95"));
    assert_int_equal(engine_read_prompt(&engine, text, strlen(text), true, &ids, &err), STATUS_OK);
    assert_int_equal(ids.count, 95);
    assert_int_equal(ids.ids[0], engine.model->config.bos_id);
    token_list_free(&ids);
    assert_int_equal(engine_read_prompt(&engine, "", 0, false, &ids, &err), STATUS_OK);
    assert_int_equal(ids.count, 1);
    token_list_free(&ids);
}

static struct completion_request *request_for(const char *body, struct metrics *metrics,
                                              struct bell *bell, struct error *err) {
    struct completion_host host = {&engine, metrics, ring, bell};
    struct completion_request *request = NULL;
    struct api_request api;
    assert_int_equal(api_request_parse(&api, API_GENERATE, body, strlen(body), err), STATUS_OK);
    completion_request_start(&request, &host, &api, ANSWER_JSON, err);
    return request;
}

/* Waits for all choices; the answer up to its times, which the caller frees. */
static char *answer_of(struct completion_request *request, struct bell *bell) {
    struct buffer answer = {0};
    struct error err = {0};
    bool finished = false;
    for (;;) {
        assert_int_equal(completion_request_advance(request, &finished, &err), STATUS_OK);
        if (finished)
            break;
        wait_ring(bell);
    }
    completion_request_write_answer(request, &answer);
    *strstr(answer.data, "\"model\"") = '\0';
    return answer.data;
}

/* 4 slots and 8 places in the queue are for 12 stories, not for 64. */
static void test_choices_beyond_the_places_come_in_turn(void **state) {
    (void)state;
    static const char body[] = "{\"n\": 32, \"temperature\": 2, \"max_tokens\": 8, \"seed\": 1}";
    struct bell bells[] = {BELL, BELL};
    struct completion_request *requests[2];
    struct error err = {0};
    wait_until_idle();
    for (int i = 0; i < 2; i++) {
        requests[i] = request_for(body, NULL, &bells[i], &err);
        assert_non_null(requests[i]);
        assert_true(scheduler_has_room(engine.scheduler, QUEUE_ALL));
    }
    char *answers[] = {answer_of(requests[0], &bells[0]), answer_of(requests[1], &bells[1])};
    assert_string_equal(answers[0], answers[1]);
    for (int i = 0; i < 2; i++)
        completion_request_free(requests[i]);
    for (int i = 0; i < 32; i += 7) { /* each is the same alone */
        char one[96];
        snprintf(one, sizeof one, "{\"temperature\": 2, \"max_tokens\": 8, \"seed\": %d}", 1 + i);
        requests[0] = request_for(one, NULL, &bells[0], &err);
        char *alone = answer_of(requests[0], &bells[0]);
        alone[strlen(alone) - 1] = '}'; /* not the comma */
        assert_non_null(strstr(answers[0], alone));
        completion_request_free(requests[0]);
        free(alone);
    }
    free(answers[0]);
    free(answers[1]);
}

/* From here until the bell's lock is given back, the scheduler stands still with nothing to do. */
static struct completion_request *hold_scheduler(struct bell *bell) {
    struct error err = {0};
    wait_until_idle();
    uint64_t before = scheduler_stats(engine.scheduler).finished;
    pthread_mutex_lock(&bell->lock);
    struct completion_request *request = request_for("{\"max_tokens\": 0}", NULL, bell, &err);
    while (scheduler_stats(engine.scheduler).finished == before)
        sched_yield();
    return request;
}

static int fill_queue(struct completion_request **requests, int most, struct bell *bell) {
    struct error err = {0};
    int count = 0;
    while (count < most && (requests[count] = request_for("{\"seed\": 2}", NULL, bell, &err)))
        count++;
    assert_int_equal(err.status, STATUS_BUSY);
    return count;
}

/* Its choices leave half of the queue to others; but when others have taken all of it while none of
 * its choices is there, the next one still gets in. */
static void test_choices_share_the_queue_with_other_clients(void **state) {
    (void)state;
    struct bell gate = BELL, bell = BELL, other = BELL;
    struct completion_request *others[17];
    struct error err = {0};
    bool finished;
    struct completion_request *held = hold_scheduler(&gate);
    struct completion_request *request =
        request_for("{\"n\": 32, \"max_tokens\": 1, \"seed\": 1}", NULL, &bell, &err);
    assert_int_equal(scheduler_stats(engine.scheduler).waiting, 4 + 4);
    int count = fill_queue(others, 17, &other);
    assert_int_equal(count, 4);
    pthread_mutex_unlock(&gate.lock);
    completion_request_free(held);

    held = hold_scheduler(&gate);
    count += fill_queue(others + count, 17 - count, &other);
    assert_int_equal(count, 4 + 12);
    assert_int_equal(completion_request_advance(request, &finished, &err), STATUS_OK);
    assert_false(finished);
    assert_int_equal(scheduler_stats(engine.scheduler).waiting, 12 + 1);
    pthread_mutex_unlock(&gate.lock);
    completion_request_free(held);
    free(answer_of(request, &bell));
    completion_request_free(request);
    while (count > 0)
        completion_request_free(others[--count]);
    wait_until_idle();
}

static void test_a_cancelled_request_starts_no_more_choices(void **state) {
    (void)state;
    struct bell bell = BELL;
    struct metrics metrics = {0};
    struct error err = {0};
    bool finished;
    wait_until_idle();
    uint64_t before = scheduler_stats(engine.scheduler).finished;
    struct completion_request *request =
        request_for("{\"n\": 32, \"seed\": 1}", &metrics, &bell, &err);
    assert_non_null(request);
    completion_request_cancel(request);
    wait_until_idle();
    uint64_t ended = scheduler_stats(engine.scheduler).finished - before;
    assert_in_range(ended, 1, 31);
    assert_int_equal(completion_request_advance(request, &finished, &err), STATUS_OK);
    completion_request_end(request);
    wait_until_idle();
    assert_int_equal(scheduler_stats(engine.scheduler).finished - before, ended);
    completion_request_free(request);
}

/* The client of a stream left: the log's summary and the metrics say the same. */
static void test_what_runs_when_nobody_listens_is_cancelled(void **state) {
    (void)state;
    struct bell bell = BELL;
    struct metrics metrics = {0};
    struct error err = {0};
    struct completion_request *request =
        request_for("{\"n\": 2, \"stream\": true, \"seed\": 1}", &metrics, &bell, &err);
    assert_non_null(request);
    assert_int_equal(completion_request_summary(request).finish, FINISH_NONE);
    completion_request_end(request);
    assert_int_equal(completion_request_summary(request).finish, FINISH_CANCELLED);
    assert_int_equal(atomic_load(&metrics.completions[FINISH_CANCELLED]), 2);
    completion_request_free(request);
    wait_until_idle();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output_at_the_end_alone_is_enough),
        cmocka_unit_test(test_a_completion_ends_before_its_stop_string),
        cmocka_unit_test(test_the_earliest_of_several_stop_strings_counts),
        cmocka_unit_test(test_a_cancelled_completion_ends),
        cmocka_unit_test(test_a_completion_may_be_dropped_at_any_moment),
        cmocka_unit_test(test_prompts_are_measured_in_tokens),
        cmocka_unit_test(test_choices_beyond_the_places_come_in_turn),
        cmocka_unit_test(test_choices_share_the_queue_with_other_clients),
        cmocka_unit_test(test_a_cancelled_request_starts_no_more_choices),
        cmocka_unit_test(test_what_runs_when_nobody_listens_is_cancelled),
    };
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
