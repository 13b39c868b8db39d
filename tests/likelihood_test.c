/* Log-probabilities of spans, and continuations of prompts, of weights/small: against what the
 * engine says of the same tokens one request at a time. */
#include "evaluation/generate.h"
#include "evaluation/likelihood.h"

#include "engine/best_of.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct harness harness;
static struct evaluation_options options = {
    .models = "weights/small", .dtype = "int8", .threads = 2, .seed = 1, .best_of = 4};

static int open_harness(void **state) {
    (void)state;
    struct error err = {0};
    enum status status = harness_open(&harness, &options, &err);
    if (status != STATUS_OK)
        print_error("%s\n", err.message);
    return status != STATUS_OK;
}

static int close_harness(void **state) {
    (void)state;
    harness_close(&harness);
    return 0;
}

/* ---- likelihood ------------------------------------------------------------ */

/* The log-probability of ids [from, end) of the text, by a request of its own. */
static double by_request(const char *text, int *count, int from) {
    struct engine *model = &harness.models[0];
    struct token_list ids;
    struct request *request;
    struct error err = {0};
    double sum = 0;
    if (engine_read_prompt(model, text, strlen(text), false, &ids, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    const struct request_params params = {.prompt = ids.ids,
                                          .prompt_count = (int)ids.count,
                                          .sampling = sampling_defaults(),
                                          .logprobs = true,
                                          .prompt_logprobs = true};
    if (scheduler_submit(model->scheduler, &params, &request, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    while (request_output(request).finish == FINISH_NONE)
        usleep(200);
    *count = (int)ids.count;
    for (int i = from; i < *count; i++)
        sum += (double)request_prompt_logprobs(request, i)->own;
    request_release(request);
    token_list_free(&ids);
    return sum;
}

static struct question asked(const char *const *texts, int count) {
    struct question question = {.count = count};
    for (int c = 0; c < count; c++)
        question.texts[c] = (char *)texts[c];
    return question;
}

static void sums_are_those_of_the_engine(void **state) {
    (void)state;
    static const char *const texts[] = {
        "Once upon a time, there was a little girl named Lily. She went to the park.",
        "Once upon a time, there was a little girl named Lily. She ate.",
        "Once upon a time, there was a little girl named Lily. Blue of the had!",
    };
    struct question question = asked(texts, 3);
    struct error err;
    assert_int_equal(likelihood(&harness, &harness.models[0], "", &question, 1, &err), STATUS_OK);
    assert_true(question.fits);
    for (int c = 0; c < 3; c++) {
        int count, from;
        by_request(texts[c], &count, 1);
        from = count - question.tokens[c];
        double sum = by_request(texts[c], &count, from);
        assert_true(question.tokens[c] > 0 && from > 10); /* the beginning is shared */
        assert_true(question.sums[c] == sum);             /* bit for bit */
    }
    assert_true(question.sums[0] / question.tokens[0] > question.sums[2] / question.tokens[2]);
}

static void company_does_not_change_a_sum(void **state) {
    (void)state;
    enum { COUNT = 40 }; /* more than fit into one batch, and not a multiple */
    static char texts[COUNT][2][64];
    struct question together[COUNT], alone;
    struct error err;
    for (int i = 0; i < COUNT; i++) {
        snprintf(texts[i][0], sizeof texts[i][0], "There were %d cats and a big dog.", i);
        snprintf(texts[i][1], sizeof texts[i][1], "There were %d cats and a dog.", i);
        together[i] = asked((const char *[]){texts[i][0], texts[i][1]}, 2);
    }
    assert_int_equal(likelihood(&harness, &harness.models[0], "", together, COUNT, &err),
                     STATUS_OK);
    for (int i = 0; i < COUNT; i++) {
        alone = asked((const char *[]){texts[i][0], texts[i][1]}, 2);
        assert_int_equal(likelihood(&harness, &harness.models[0], "", &alone, 1, &err), STATUS_OK);
        assert_memory_equal(alone.sums, together[i].sums, sizeof alone.sums);
    }
}

static void what_cannot_be_compared_does_not_fit(void **state) {
    (void)state;
    char *longer = calloc(4000, 1);
    struct error err;
    assert_non_null(longer);
    for (int i = 0; i < 300; i++)
        strcat(longer, "so big ");
    struct question questions[] = {
        asked((const char *[]){longer, "so small"}, 2),
        asked((const char *[]){"Tim ran home", "Tim ran"}, 2),
        asked((const char *[]){"Tim ran home", "Tim ran away"}, 2),
        asked((const char *[]){"Tim", "Sue"}, 2), /* only bos is shared */
    };
    assert_int_equal(likelihood(&harness, &harness.models[0], "", questions, 4, &err), STATUS_OK);
    assert_false(questions[0].fits);
    assert_false(questions[1].fits);
    assert_true(questions[2].fits && questions[2].tokens[0] == 1);
    assert_true(questions[3].fits && questions[3].sums[1] < 0);
    free(longer);
}

/* ---- continuations --------------------------------------------------------- */

static const char *const prompts[] = {"once upon a time", "", "the cat said, \""};

static void make(int best_of, uint64_t seed, int first, int count, struct continuation *made) {
    struct error err;
    const struct generate_options wanted = {.what = "",
                                            .prompts = prompts + first,
                                            .count = count,
                                            .seed = seed,
                                            .best_of = best_of,
                                            .max_tokens = 24};
    if (generate(&harness, &harness.models[0], &wanted, made, &err) != STATUS_OK)
        fail_msg("%s", err.message);
}

static void the_best_has_the_highest_score_of_its_candidates(void **state) {
    (void)state;
    struct continuation best[3], one;
    make(4, 10, 0, 3, best);
    for (int p = 0; p < 3; p++) {
        double highest = -HUGE_VAL;
        uint64_t seed = 0;
        for (int i = 0; i < 4; i++) {
            make(1, 10 + (uint64_t)(4 * p + i), p, 1, &one);
            if (one.score > highest) {
                highest = one.score;
                seed = one.seed;
            }
            if (one.seed == best[p].seed)
                assert_string_equal(one.text, best[p].text);
            continuations_free(&one, 1);
        }
        assert_true(best[p].seed == seed);
        assert_true(best[p].score == highest);
        assert_true(best[p].tokens > 0 && best[p].tokens <= 24);
    }
    continuations_free(best, 3);
}

static void a_prompt_that_is_too_long_is_an_error(void **state) {
    (void)state;
    char *text = calloc(4000, 1);
    const char *prompt = text;
    struct continuation made;
    struct error err = {0};
    assert_non_null(text);
    for (int i = 0; i < 300; i++)
        strcat(text, "so big ");
    const struct generate_options wanted = {
        .what = "", .prompts = &prompt, .count = 1, .best_of = 2, .max_tokens = 5};
    assert_int_equal(generate(&harness, &harness.models[0], &wanted, &made, &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "255"));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_the_engine),
        cmocka_unit_test(company_does_not_change_a_sum),
        cmocka_unit_test(what_cannot_be_compared_does_not_fit),
        cmocka_unit_test(the_best_has_the_highest_score_of_its_candidates),
        cmocka_unit_test(a_prompt_that_is_too_long_is_an_error),
    };
    return cmocka_run_group_tests_name("likelihood", tests, open_harness, close_harness);
}
