/* Proposals of a draft model change no bit of what is generated, and what was wrong of them leaves
 * nothing behind. weights/mini is the model, weights/small drafts for it; a model that drafts for
 * itself is always right, which shows that the draft's cache follows every sequence. */
#include "base/rng.h"
#include "engine/draft.h"
#include "engine/engine.h"
#include "tests/support/client.h"
#include "tests/support/sanitized.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { STORIES = SANITIZED ? 16 : 64, PROMPT = 24, TOKENS = 20 };

static struct engine engine; /* mini, and small as its draft */

static int setup(void **state) {
    (void)state;
    const struct scheduler_options options = {.slots = 1, .queue = 1, .threads = 1,
                                              .prefill_chunk = 8};
    return engine_open(&engine, "weights/mini", NULL, &options, NULL) == STATUS_OK ? 0 : 1;
}

static int teardown(void **state) {
    (void)state;
    engine_close(&engine);
    return 0;
}

static struct scheduler *create(const struct model *draft, int draft_tokens, int slots,
                                int threads) {
    struct scheduler_options options = {.slots = slots,
                                        .queue = STORIES,
                                        .threads = threads,
                                        .prefill_chunk = 16,
                                        .draft = draft,
                                        .draft_tokens = draft_tokens};
    struct scheduler *scheduler;
    struct error err = {0};
    if (scheduler_create(&scheduler, engine.model, &options, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return scheduler;
}

/* ---- stories of every kind ----------------------------------------------------------- */

static const struct logit_bias biases[] = {{264, 3}, {2, -100}, {300, -4}};

static struct sampling settings_of(int story) {
    struct sampling s = sampling_defaults();
    s.seed = rng_bits(41, (uint64_t)story);
    s.temperature = story % 5 == 0 ? 0.0f : 0.4f + 0.15f * (float)(story % 6);
    s.top_k = story % 4 == 1 ? 12 : 0;
    s.top_p = story % 4 == 2 ? 0.9f : 1.0f;
    s.min_p = story % 4 == 3 ? 0.05f : 0.0f;
    s.repetition_penalty = story % 3 == 0 ? 1.2f : 1.0f;
    s.presence_penalty = story % 6 == 1 ? 0.8f : 0;
    s.frequency_penalty = story % 6 == 2 ? 0.5f : 0;
    s.biases = story % 7 == 3 ? biases : NULL;
    s.bias_count = story % 7 == 3 ? 3 : 0;
    return s;
}

/* Neighbors share the beginning of their prompts; some are of one token and some are long. */
static int prompt_of(int story, int32_t prompt[PROMPT]) {
    int count = 1 + (int)(rng_bits(42, (uint64_t)story) % PROMPT);
    for (int i = 0; i < count; i++)
        prompt[i] = (int32_t)(4 + rng_bits(i < 9 ? 43 + (uint64_t)story / 3 : (uint64_t)story,
                                           (uint64_t)i) % 3000);
    return count;
}

struct result {
    int32_t ids[TOKENS];
    int count;
    enum finish_reason finish;
    struct token_logprobs logprobs[TOKENS];
};

static void submit(struct scheduler *scheduler, int story, struct client *client) {
    int32_t prompt[PROMPT];
    struct request_params params = {.prompt = prompt,
                                    .prompt_count = prompt_of(story, prompt),
                                    .max_tokens = 1 + story % TOKENS,
                                    .sampling = settings_of(story),
                                    .logprobs = story % 2 == 0,
                                    .top_logprobs = 3,
                                    .on_output = client_on_output,
                                    .context = client};
    struct error err = {0};
    pthread_mutex_lock(&client->lock); /* so that on_output finds `request` set */
    enum status status = scheduler_submit(scheduler, &params, &client->request, &err);
    pthread_mutex_unlock(&client->lock);
    if (status != STATUS_OK)
        fail_msg("%s", err.message);
}

static void collect(struct client *client, int story, struct result *result) {
    struct request_output output = client_collect(client);
    memset(result, 0, sizeof *result);
    memcpy(result->ids, output.ids, (size_t)output.count * sizeof *output.ids);
    result->count = output.count;
    result->finish = output.finish;
    for (int i = 0; i < output.count && story % 2 == 0; i++)
        result->logprobs[i] = *request_logprobs(client->request, i);
    int calls = output.count + (output.finish == FINISH_STOP || output.finish == FINISH_CANCELLED);
    client_wait_for_output(client, calls);
    assert_int_equal(client->outputs, calls); /* one for each token, and one for an eos */
    request_release(client->request);
}

/* All stories, `together` at a time. Every `leaving`-th client leaves after its third output; 0:
 * none does. */
static void generate(struct scheduler *scheduler, int together, int leaving,
                     struct result results[STORIES]) {
    static struct client clients[STORIES];
    for (int begin = 0; begin < STORIES; begin += together) {
        int end = begin + together < STORIES ? begin + together : STORIES;
        for (int s = begin; s < end; s++) {
            client_init(&clients[s], false);
            clients[s].cancel_after = leaving && s % leaving == 0 ? 3 : 0;
            submit(scheduler, s, &clients[s]);
        }
        for (int s = begin; s < end; s++)
            collect(&clients[s], s, &results[s]);
    }
}

static struct result *expected_results(void) {
    static struct result expected[STORIES];
    struct scheduler *scheduler = create(NULL, 0, 1, 1);
    generate(scheduler, 1, 0, expected);
    scheduler_destroy(scheduler);
    return expected;
}

/* ---- the same stories ------------------------------------------------------------------- */

static void stories_are_those_without_a_draft(void **state) {
    (void)state;
    static const struct {
        int together, threads, draft_tokens;
    } ways[] = {{1, 1, 4}, {1, 2, 16}, {8, 2, 5}, {8, 3, 0}, {64, 2, 1}, {64, 2, 0}};
    static struct result got[STORIES];
    const struct result *expected = expected_results();
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        struct scheduler *scheduler = create(engine.draft, ways[w].draft_tokens, ways[w].together,
                                             ways[w].threads);
        generate(scheduler, ways[w].together, 0, got);
        struct scheduler_stats stats = scheduler_stats(scheduler);
        scheduler_destroy(scheduler);
        for (int s = 0; s < STORIES; s++)
            if (memcmp(&got[s], &expected[s], sizeof got[s]) != 0)
                fail_msg("story %d is another one: %d together, %d threads, %d proposals", s,
                         ways[w].together, ways[w].threads, ways[w].draft_tokens);
        if (ways[w].draft_tokens == 0)
            continue; /* as the clock will have it */
        assert_true(stats.accepted > 0 && stats.accepted < stats.proposed);
        assert_true(stats.steps < stats.generated_tokens || ways[w].together > 1);
    }
}

static void who_leaves_amid_proposals_changes_nothing(void **state) {
    (void)state;
    static struct result got[STORIES];
    const struct result *expected = expected_results();
    static const int together[] = {1, 64};
    for (size_t t = 0; t < sizeof together / sizeof *together; t++) {
        struct scheduler *scheduler = create(engine.draft, 6, together[t], 2);
        generate(scheduler, together[t], 3, got);
        int cancelled = 0;
        for (int s = 0; s < STORIES; s++) {
            if (got[s].finish != FINISH_CANCELLED) {
                assert_memory_equal(&got[s], &expected[s], sizeof got[s]);
                continue;
            }
            assert_int_equal(s % 3, 0);
            assert_in_range(got[s].count, 2, expected[s].count);
            assert_memory_equal(got[s].ids, expected[s].ids,
                                (size_t)got[s].count * sizeof(int32_t));
            cancelled++;
        }
        assert_true(cancelled > STORIES / 12);
        scheduler_destroy(scheduler);
    }
}

/* ---- the caches ---------------------------------------------------------------------------- */

/* The draft's rows come along with shared beginnings, catch up with prompts that are longer than
 * its batch, and forget what was wrong: else it would not be right every time. */
static void a_model_that_drafts_for_itself_is_always_right(void **state) {
    (void)state;
    static const struct {
        int together, slots, threads, draft_tokens;
    } ways[] = {{1, 3, 2, 16}, {8, 11, 2, 3}};
    static struct result got[STORIES];
    const struct result *expected = expected_results();
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        struct scheduler *scheduler = create(engine.model, ways[w].draft_tokens, ways[w].slots,
                                             ways[w].threads);
        generate(scheduler, ways[w].together, 5, got); /* other stories, and some of the same */
        generate(scheduler, ways[w].together, 0, got);
        struct scheduler_stats stats = scheduler_stats(scheduler);
        scheduler_destroy(scheduler);
        assert_memory_equal(got, expected, sizeof got);
        assert_true(stats.proposed > stats.generated_tokens / 3);
        assert_int_equal(stats.accepted, stats.proposed);
    }
}

static struct request_output await_end(struct request *request) {
    while (request_output(request).finish == FINISH_NONE)
        usleep(100);
    return request_output(request);
}

/* The likeliest token, and never the end. */
static struct sampling greedy(void) {
    static const struct logit_bias no_end = {2, -100};
    return (struct sampling){
        .top_p = 1, .repetition_penalty = 1, .biases = &no_end, .bias_count = 1};
}

/* What comes behind prompt[count]. */
static int32_t ask(const struct model *model, const int32_t *prompt, int count) {
    struct scheduler_options options = {.slots = 1, .queue = 1, .threads = 1, .prefill_chunk = 64};
    struct scheduler *scheduler;
    struct request *request;
    struct request_params params = {.prompt = prompt,
                                    .prompt_count = count,
                                    .max_tokens = 1,
                                    .sampling = greedy()};
    assert_int_equal(scheduler_create(&scheduler, model, &options, NULL), STATUS_OK);
    assert_int_equal(scheduler_submit(scheduler, &params, &request, NULL), STATUS_OK);
    struct request_output output = await_end(request);
    assert_int_equal(output.count, 1);
    int32_t id = output.ids[0];
    request_release(request);
    scheduler_destroy(scheduler);
    return id;
}

/* At every place where the draft is wrong, a prompt that goes on with the wrong token finds only
 * what the model itself has said in the cache, and gets the story that it gets elsewhere. */
static void rejected_tokens_are_in_no_cache(void **state) {
    (void)state;
    enum { BEGINNING = 6, LENGTH = 24 };
    int32_t tokens[BEGINNING + LENGTH + 2];
    int wrong = 0;
    for (int i = 0; i < BEGINNING; i++)
        tokens[i] = 4 + 37 * i;
    for (int count = BEGINNING; count < BEGINNING + LENGTH; count++)
        tokens[count] = ask(engine.model, tokens, count);
    for (int place = BEGINNING; place < BEGINNING + LENGTH; place++) {
        int32_t proposed = ask(engine.draft, tokens, place);
        if (proposed == tokens[place])
            continue;
        struct scheduler *scheduler = create(engine.draft, 8, 1, 1);
        struct request_params params = {.prompt = tokens,
                                        .prompt_count = BEGINNING,
                                        .max_tokens = LENGTH,
                                        .sampling = greedy()};
        struct request *request;
        assert_int_equal(scheduler_submit(scheduler, &params, &request, NULL), STATUS_OK);
        struct request_output output = await_end(request);
        assert_memory_equal(output.ids, tokens + BEGINNING, LENGTH * sizeof(int32_t));
        request_release(request);

        int32_t other[BEGINNING + LENGTH + 2];
        memcpy(other, tokens, (size_t)place * sizeof *other);
        other[place] = proposed;
        other[place + 1] = 9;
        params.prompt = other;
        params.prompt_count = place + 2;
        params.max_tokens = 1;
        assert_int_equal(scheduler_submit(scheduler, &params, &request, NULL), STATUS_OK);
        output = await_end(request);
        assert_int_equal(request_usage(request).cached_tokens, place);
        assert_int_equal(output.ids[0], ask(engine.model, other, place + 2));
        request_release(request);
        scheduler_destroy(scheduler);
        wrong++;
    }
    assert_true(wrong > 3);
}

/* ---- which model drafts ------------------------------------------------------------------- */

static enum status open_with(struct engine *other, const char *folder, const char *dtype,
                             const char *choice, struct error *err) {
    const struct scheduler_options options = {
        .slots = 1, .queue = 1, .threads = 1, .prefill_chunk = 8, .draft_choice = choice};
    return engine_open(other, folder, dtype, &options, err);
}

static void auto_takes_a_smaller_model_with_the_same_tokenizer(void **state) {
    (void)state;
    assert_non_null(engine.draft); /* mini's, in setup() */
    assert_int_equal(engine.draft->config.d_model, 64);
    assert_non_null(strstr(engine.draft_folder, "small"));
    static const struct {
        const char *folder, *dtype, *choice;
    } without[] = {{"weights/small", NULL, "auto"}, /* there is none smaller */
                   {"weights/mini", NULL, "off"},
                   {"weights/mini", "f32", "auto"}}; /* products of other shapes round otherwise */
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
        struct engine other;
        assert_int_equal(open_with(&other, without[i].folder, without[i].dtype, without[i].choice,
                                   NULL),
                         STATUS_OK);
        assert_null(other.draft);
        engine_close(&other);
    }
}

static void a_draft_that_does_not_fit_is_refused(void **state) {
    (void)state;
    struct engine other;
    struct error err = {0};
    assert_int_equal(open_with(&other, "weights/mini", "f32", "weights/small", &err),
                     STATUS_INVALID);
    assert_string_equal(err.field, "draft");
    assert_int_not_equal(open_with(&other, "weights/mini", NULL, "weights/none", &err), STATUS_OK);
    struct model model = *engine.model, draft = *engine.draft;
    assert_int_equal(draft_check(&draft, &model, &err), STATUS_OK);
    draft.config.positions--;
    assert_int_equal(draft_check(&draft, &model, &err), STATUS_INVALID);
    draft.config = engine.draft->config;
    draft.config.vocab++;
    assert_int_equal(draft_check(&draft, &model, &err), STATUS_INVALID);
    int tokens;
    assert_int_equal(draft_tokens_parse("auto", &tokens, &err), STATUS_OK);
    assert_int_equal(tokens, 0);
    assert_int_equal(draft_tokens_parse("16", &tokens, &err), STATUS_OK);
    assert_int_equal(tokens, 16);
    static const char *const wrong[] = {"0", "17", "-1", "", "4x", "on"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(draft_tokens_parse(wrong[i], &tokens, &err), STATUS_INVALID);
        assert_string_equal(err.field, "draft-tokens");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories_are_those_without_a_draft),
        cmocka_unit_test(who_leaves_amid_proposals_changes_nothing),
        cmocka_unit_test(a_model_that_drafts_for_itself_is_always_right),
        cmocka_unit_test(rejected_tokens_are_in_no_cache),
        cmocka_unit_test(auto_takes_a_smaller_model_with_the_same_tokenizer),
        cmocka_unit_test(a_draft_that_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests_name("draft", tests, setup, teardown);
}
