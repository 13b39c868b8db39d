/* The best of several completions: seeds, scores, ranking. */
#include "engine/best_of.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MOST = BEST_OF_STORY };

/* A finished completion of tokens with these log-probabilities, each with two bytes of text. */
struct candidate {
    struct token_logprobs logprobs[MOST];
    struct completion_token tokens[MOST];
    struct completion completion;
};

static const struct completion *finished(struct candidate *candidate, const float *logprobs,
                                         int count) {
    *candidate = (struct candidate){.completion = {.finish = FINISH_LENGTH, .decoded = count,
                                                   .certain = 2 * (size_t)count,
                                                   .tokens = candidate->tokens}};
    for (int i = 0; i < count; i++) {
        candidate->logprobs[i].own = logprobs[i];
        candidate->tokens[i] = (struct completion_token){
            .id = i, .begins = 2 * (size_t)i, .logprobs = &candidate->logprobs[i]};
    }
    return &candidate->completion;
}

static void test_the_likelihood_is_the_mean_of_the_tokens(void **state) {
    (void)state;
    struct candidate candidate;
    const float logprobs[] = {-0.5f, -0.25f, -3, -0.25f};
    assert_true(best_of_likelihood(finished(&candidate, logprobs, 4)) == -1.0);
    assert_true(best_of_likelihood(finished(&candidate, logprobs, 2)) == -0.375);
    /* Long ones are not worse for being long, nor ones that may end a story worse for ending it. */
    candidate.completion.finish = FINISH_STOP;
    assert_true(best_of_likelihood(&candidate.completion) == -0.375);
}

static void test_what_a_stop_string_took_away_does_not_count(void **state) {
    (void)state;
    struct candidate candidate;
    const float logprobs[] = {-0.5f, -0.25f, -3, -0.25f};
    finished(&candidate, logprobs, 4);
    candidate.completion.finish = FINISH_STOP;
    candidate.completion.cut = true;
    candidate.completion.certain = 4; /* of two tokens */
    assert_true(best_of_likelihood(&candidate.completion) == -0.375);
    candidate.completion.certain = 3; /* and a half is still there in part */
    assert_true(best_of_likelihood(&candidate.completion) == -0.375);
}

static void test_nothing_is_worse_than_anything(void **state) {
    (void)state;
    struct candidate nothing, impossible;
    const float logprobs[] = {-INFINITY};
    double scores[] = {best_of_likelihood(finished(&nothing, logprobs, 0)), -100};
    int ranking[2];
    assert_true(isinf(scores[0]) && scores[0] < 0);
    assert_true(isinf(best_of_likelihood(finished(&impossible, logprobs, 1))));
    best_of_rank(scores, 2, ranking);
    assert_int_equal(ranking[0], 1);
}

/* With ids 0 1 2 3 0 1 2 3 0 of nine tokens there are six runs of four, and two come again. */
static void test_a_story_that_repeats_itself_is_worse(void **state) {
    (void)state;
    const double part = -1 - BEST_OF_PART; /* short */
    struct candidate candidate;
    const float logprobs[9] = {-1, -1, -1, -1, -1, -1, -1, -1, -1};
    const struct completion *story = finished(&candidate, logprobs, 9);
    candidate.completion.finish = FINISH_STOP;
    assert_true(best_of_score(story) == part);
    for (int i = 4; i < 9; i++)
        candidate.tokens[i].id = i % 4;
    assert_true(best_of_likelihood(story) == -1);
    assert_true(best_of_score(story) == -1 - BEST_OF_REPETITION * (2 / 6.0) - BEST_OF_PART);
    candidate.tokens[8].id = 9; /* now 1 2 3 0 does not come again, but 0 1 2 3 does */
    assert_true(best_of_score(story) == -1 - BEST_OF_REPETITION * (1 / 6.0) - BEST_OF_PART);
    for (int i = 0; i < 9; i++)
        candidate.tokens[i].id = 7; /* each run but the first */
    assert_true(best_of_score(story) == -1 - BEST_OF_REPETITION * (5 / 6.0) - BEST_OF_PART);
    finished(&candidate, logprobs, 3);
    candidate.completion.finish = FINISH_STOP;
    assert_true(best_of_score(story) == part); /* too short for a run */
}

static void test_a_story_without_an_end_or_hardly_begun_is_worse(void **state) {
    (void)state;
    struct candidate candidate;
    float logprobs[BEST_OF_STORY];
    for (int i = 0; i < BEST_OF_STORY; i++)
        logprobs[i] = -1;
    const struct completion *story = finished(&candidate, logprobs, BEST_OF_STORY);
    assert_true(best_of_score(story) == -1 - BEST_OF_PART); /* cut off */
    candidate.completion.finish = FINISH_STOP;
    assert_true(best_of_score(story) == -1);
    finished(&candidate, logprobs, BEST_OF_STORY - 1);
    assert_true(best_of_score(story) == -1 - BEST_OF_PART); /* both is no worse than either */
    candidate.completion.finish = FINISH_STOP;
    assert_true(best_of_score(story) == -1 - BEST_OF_PART); /* short */
}

static void test_the_best_comes_first_and_of_equals_the_earlier(void **state) {
    (void)state;
    const double scores[] = {-2, -1, -INFINITY, -1, -0.5, -2, -INFINITY};
    const int expected[] = {4, 1, 3, 0, 5, 2, 6};
    int ranking[7];
    best_of_rank(scores, 7, ranking);
    assert_memory_equal(ranking, expected, sizeof expected);
    best_of_rank(scores, 1, ranking);
    assert_int_equal(ranking[0], 0);
}

static void test_each_candidate_has_a_seed_that_a_client_may_send(void **state) {
    (void)state;
    assert_true(best_of_seed(7, 0) == 7 && best_of_seed(7, 3) == 10);
    assert_true(best_of_seed(SAMPLING_SEED_MAX - 1, 1) == SAMPLING_SEED_MAX);
    assert_true(best_of_seed(SAMPLING_SEED_MAX, 1) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_likelihood_is_the_mean_of_the_tokens),
        cmocka_unit_test(test_what_a_stop_string_took_away_does_not_count),
        cmocka_unit_test(test_nothing_is_worse_than_anything),
        cmocka_unit_test(test_a_story_that_repeats_itself_is_worse),
        cmocka_unit_test(test_a_story_without_an_end_or_hardly_begun_is_worse),
        cmocka_unit_test(test_the_best_comes_first_and_of_equals_the_earlier),
        cmocka_unit_test(test_each_candidate_has_a_seed_that_a_client_may_send),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
