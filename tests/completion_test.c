/* Stories and tellings without HTTP: text from tokens, stop strings, news, canceling. */
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

/* A model that knows nothing tells nonsense, which is all that is needed here. */
static int open_teller(void **state) {
    (void)state;
    struct error err = {0};
    struct scheduler_options options = {.slots = 4, .queue = 8, .threads = 2, .prompt_rows = 16};
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

static int close_teller(void **state) {
    (void)state;
    engine_close(&engine);
    return 0;
}

/* ---- waiting for news ------------------------------------------------------------ */

struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rung;
    int count;      /* of rings not yet waited for */
    int rings, ends; /* in all, and of those the ones that said so */
};

static void ring(void *context, bool over) {
    struct bell *bell = context;
    pthread_mutex_lock(&bell->lock);
    bell->count++;
    bell->rings++;
    bell->ends += over;
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

#define BELL {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0}

static struct story *start(const char *prompt, uint64_t seed, int max_tokens,
                           const char *const *stops, int stop_count, bool every_token,
                           struct bell *bell) {
    struct token_list ids;
    struct story *story = NULL;
    struct error err = {0};
    struct sampling sampling = sampling_defaults();
    sampling.seed = seed;
    sampling.temperature = 1;
    struct story_request request = {
        .prompt = &ids,
        .continues = story_continues(prompt, strlen(prompt)),
        .max_tokens = max_tokens,
        .sampling = sampling,
        .stop_count = stop_count,
        .every_token = every_token,
        .on_news = ring,
        .context = bell,
    };
    for (int i = 0; i < stop_count; i++)
        request.stops[i] = stops[i];
    enum status status = engine_read_prompt(&engine, prompt, strlen(prompt), false, &ids, &err);
    if (status == STATUS_OK)
        status = story_start(&story, &engine, &request, &err);
    if (status != STATUS_OK)
        fail_msg("%s", err.message);
    token_list_free(&ids);
    return story;
}

/* Advances to the end. What was certain must stay, and must be whole UTF-8 at every moment. */
static enum story_end finish(struct story *story, struct bell *bell, char *text, size_t size) {
    enum story_end end = STORY_RUNNING;
    struct error err = {0};
    size_t seen = 0;
    for (;;) {
        assert_int_equal(story_advance(story, &end, &err), STATUS_OK);
        size_t bytes;
        const char *now = story_text(story, &bytes);
        assert_true(bytes >= seen && bytes < size);
        assert_memory_equal(now, text, seen);
        memcpy(text + seen, now + seen, bytes - seen);
        for (size_t length; seen < bytes; seen += length) {
            length = utf8_length(now + seen, bytes - seen);
            assert_true(length > 0);
        }
        if (end != STORY_RUNNING)
            break;
        wait_ring(bell);
    }
    text[seen] = '\0';
    return end;
}

static void wait_until_idle(void) {
    struct scheduler_stats stats;
    do {
        sched_yield();
        stats = scheduler_stats(engine.scheduler);
    } while (stats.running + stats.waiting > 0);
}

/* ---- the tests ------------------------------------------------------------------- */

static void test_news_of_the_end_alone_is_enough(void **state) {
    (void)state;
    char all[4096], at_end[4096];
    struct bell bell = BELL;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct story *each = start("the cat", seed, 1000, NULL, 0, true, &bell);
        enum story_end end = finish(each, &bell, all, sizeof all);
        int tokens = story_tokens(each);
        story_free(each); /* after which it rings no more */
        assert_true(bell.ends <= 1);
        bell.rings = bell.ends = 0;
        struct story *whole = start("the cat", seed, 1000, NULL, 0, false, &bell);
        assert_int_equal(finish(whole, &bell, at_end, sizeof at_end), end);
        assert_string_equal(all, at_end);
        assert_int_equal(tokens, story_tokens(whole));
        assert_int_equal(story_usage(whole).completion_tokens, story_tokens(whole));
        story_free(whole);
        assert_true(bell.rings == bell.ends && bell.ends <= 1);
        bell.rings = bell.ends = 0;
    }
}

static bool is_inside_character(const char *text) {
    return ((unsigned char)*text & 0xc0) == 0x80;
}

/* Every piece of a story, of every length, as a stop string. */
static void test_a_story_ends_before_its_stop_string(void **state) {
    (void)state;
    char whole[4096], cut[4096];
    struct bell bell = BELL;
    struct story *story = start("a dog", 9, 24, NULL, 0, false, &bell);
    finish(story, &bell, whole, sizeof whole);
    int tokens = story_tokens(story);
    story_free(story);
    assert_true(strlen(whole) > 40);
    for (size_t length = 1; length <= 13; length += 4)
        for (size_t at = 0; at + length <= 40; at++) {
            char stop[16];
            if (is_inside_character(whole + at) || is_inside_character(whole + at + length))
                continue; /* clients' stop strings are UTF-8 */
            snprintf(stop, sizeof stop, "%.*s", (int)length, whole + at);
            const char *stops[] = {"\xe2\x98\x83 not in there", stop};
            story = start("a dog", 9, 24, stops, 2, at % 2, &bell);
            assert_int_equal(finish(story, &bell, cut, sizeof cut), STORY_STOP);
            *strstr(whole, stop) = '\0'; /* what the cut one must be */
            assert_string_equal(cut, whole);
            assert_true(story_tokens(story) <= tokens);
            story_free(story);
            story = start("a dog", 9, 24, NULL, 0, false, &bell);
            finish(story, &bell, whole, sizeof whole);
            story_free(story);
        }
}

static void test_the_earliest_of_several_stop_strings_counts(void **state) {
    (void)state;
    char whole[4096], cut[4096], first[8], second[8];
    struct bell bell = BELL;
    struct story *story = start("a dog", 3, 24, NULL, 0, false, &bell);
    finish(story, &bell, whole, sizeof whole);
    story_free(story);
    snprintf(first, sizeof first, "%.6s", whole + 20);
    snprintf(second, sizeof second, "%.4s", whole + 11);
    const char *stops[] = {first, second, "never, never", first};
    story = start("a dog", 3, 24, stops, 4, true, &bell);
    finish(story, &bell, cut, sizeof cut);
    *strstr(whole, second) = '\0';
    assert_string_equal(cut, whole);
    story_free(story);
}

static void test_a_cancelled_story_ends(void **state) {
    (void)state;
    char text[4096];
    struct bell bell = BELL;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct story *story = start("the", seed, 1000, NULL, 0, true, &bell);
        enum story_end end;
        assert_int_equal(story_advance(story, &end, NULL), STATUS_OK); /* news before start ended */
        if (seed % 3 && end == STORY_RUNNING)
            wait_ring(&bell);
        story_cancel(story);
        end = finish(story, &bell, text, sizeof text);
        assert_true(end == STORY_CANCELLED || end == STORY_STOP || end == STORY_LENGTH);
        story_free(story);
    }
}

static void test_a_story_may_be_dropped_at_any_moment(void **state) {
    (void)state;
    struct bell bell = BELL;
    for (uint64_t seed = 0; seed < 50; seed++) {
        while (!scheduler_has_room(engine.scheduler)) /* the dropped ones go with the next step */
            sched_yield();
        story_free(start("the", seed, 1000, NULL, 0, true, &bell));
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

/* A request that needs more places than there are leaves none of them taken. */
static void test_a_telling_starts_whole_or_not_at_all(void **state) {
    (void)state;
    struct bell bell = BELL;
    struct completion_request *tellings[2] = {NULL, NULL};
    struct error err = {0};
    const char body[] = "{\"n\": 8, \"temperature\": 2, \"seed\": 1}";
    int started = 0;
    wait_until_idle();
    for (int i = 0; i < 2; i++) { /* 4 slots and 8 places in the queue: one fits, not two */
        struct api_request request;
        assert_int_equal(api_request_parse(&request, API_GENERATE, body, strlen(body), &err),
                         STATUS_OK);
        if (completion_request_start(&tellings[i], &engine, NULL, &request, ANSWER_JSON, ring, &bell, &err) ==
            STATUS_OK)
            started++;
        else
            assert_int_equal(err.status, STATUS_BUSY);
    }
    assert_in_range(started, 1, 2); /* the first may have been quick */
    for (int i = 0; i < 2; i++) {
        if (tellings[i])
            completion_request_cancel(tellings[i]);
        completion_request_free(tellings[i]);
    }
    wait_until_idle();
    assert_true(scheduler_has_room(engine.scheduler));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_news_of_the_end_alone_is_enough),
        cmocka_unit_test(test_a_story_ends_before_its_stop_string),
        cmocka_unit_test(test_the_earliest_of_several_stop_strings_counts),
        cmocka_unit_test(test_a_cancelled_story_ends),
        cmocka_unit_test(test_a_story_may_be_dropped_at_any_moment),
        cmocka_unit_test(test_prompts_are_measured_in_tokens),
        cmocka_unit_test(test_a_telling_starts_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, open_teller, close_teller);
}
