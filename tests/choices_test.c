/* The choice tests: sentences and words, cases built from stories, pairs, and intervals. */
#include "evaluation/choices.h"
#include "evaluation/interval.h"
#include "evaluation/pairs.h"
#include "evaluation/sentences.h"
#include "tests/support/scratch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- sentences ------------------------------------------------------------- */

static void check_first(const char *text, bool quoted, const char *first) {
    size_t bytes = sentence_length(text, quoted);
    if (bytes != strlen(first) || strncmp(text, first, bytes) != 0)
        fail_msg("of <%s> the first sentence is <%.*s>", text, (int)bytes, text);
}

static void sentences_end_outside_of_quotes(void **state) {
    (void)state;
    check_first("he ran. she sat.", false, "he ran.");
    check_first("no way!? yes.", false, "no way!?");
    check_first("no end here", false, "no end here");
    check_first("it cost 3.50 today. so?", false, "it cost 3.50 today.");
    check_first("\"stop. come here.\" he ran.", false, "\"stop. come here.\"");
    check_first("\"stop!\" said the cat. he ran.", false, "\"stop!\" said the cat.");
    check_first("\"stop!\" the black cat said. he ran.", false, "\"stop!\"");
    check_first("\"why?\" the cat asked. he ran.", false, "\"why?\" the cat asked.");
    check_first("wear a coat.\" he did.", true, "wear a coat.\"");
    check_first("“go. now.” he did.", false, "“go. now.”");
    assert_true(quotes_open("he said, \"you should"));
    assert_false(quotes_open("he said, “you should.”"));
}

static void check_answer(const char *text, bool quoted, const char *expected) {
    char answer[128];
    strcpy(answer, text);
    sentence_cut_answer(answer, quoted);
    assert_string_equal(answer, expected);
}

static void an_answer_is_the_first_sentence_that_says_something(void **state) {
    (void)state;
    check_answer(" to bed. she slept.", false, " to bed.");
    check_answer(". she ran. then she slept.", false, " she ran.");
    check_answer(" ... ?! she ran. then", false, " she ran.");
    check_answer(".\" she ran. then", true, " she ran.");
    check_answer(". \"no. never.\" she ran.", false, " \"no. never.\"");
    check_answer(".\" said his mother. he ran.", true, ".\" said his mother.");
    check_answer("-in-law. he ran.", false, "-in-law.");
    check_answer(". she ran and", false, " she ran and");
    check_answer(". ", false, ".");
    check_answer("", false, "");
}

/* ---- words ----------------------------------------------------------------- */

static const char *const texts[] = {
    "One day a girl named Lily saw the ball. The cat saw Tim. Lily gave the ball to Tim. Then Lily "
    "took the ball and went home. The end.",
    "Once a boy named Sam had the big kite. Sam had the red kite, and the kite flew. Sam hid the "
    "kite. His lily was white. All were very happy that day.",
    "Once a dog named Rex found the bone. He hid the bone in the sand. Rex dug up the bone. They "
    "all slept well at night. Rex dreamed of the big bone.",
    "A duck and a frog swam in the pond. The frog saw the pond. The duck left the pond. It was the "
    "best day of the whole big summer.",
    "A cow ate the grass. The cow liked the grass. The cow had the grass. She said good night to "
    "everyone on the farm.",
};
static const struct story_list stories = {(char **)texts, 5, 5};

static struct word word_of(const char *text) {
    return (struct word){text, strlen(text)};
}

static struct lexicon learned(void) {
    struct lexicon lexicon;
    struct error err;
    assert_int_equal(lexicon_build(&lexicon, &stories, &err), STATUS_OK);
    return lexicon;
}

static void names_and_things_come_from_the_stories(void **state) {
    (void)state;
    struct lexicon lexicon = learned();
    assert_true(lexicon_is_name(&lexicon, word_of("Sam")));
    assert_true(lexicon_is_name(&lexicon, word_of("Tim")));
    assert_false(lexicon_is_name(&lexicon, word_of("sam")));
    assert_false(lexicon_is_name(&lexicon, word_of("Lily"))); /* a flower too, and no less often */
    assert_false(lexicon_is_name(&lexicon, word_of("The")));
    assert_true(lexicon_is_thing(&lexicon, word_of("ball")));
    assert_true(lexicon_is_thing(&lexicon, word_of("bone")));
    assert_false(lexicon_is_thing(&lexicon, word_of("big")));
    assert_false(lexicon_is_thing(&lexicon, word_of("nothing")));
    lexicon_free(&lexicon);
}

/* ---- cases ----------------------------------------------------------------- */

static struct case_list built(choice_builder *build, const struct story_list *list) {
    struct lexicon lexicon;
    struct case_list cases = {0};
    struct error err;
    assert_int_equal(lexicon_build(&lexicon, list, &err), STATUS_OK);
    const struct choice_source source = {list, &lexicon, 7};
    assert_int_equal(build(&source, &cases, &err), STATUS_OK);
    lexicon_free(&lexicon);
    assert_true(cases.count > 0);
    return cases;
}

static bool is_beginning(const char *text, const char *of) {
    return strncmp(text, of, strlen(text)) == 0;
}

static void a_right_text_is_the_story_and_the_others_are_not(void **state) {
    (void)state;
    choice_builder *const builders[] = {choices_endings, choices_things, choices_order};
    for (int b = 0; b < 3; b++) {
        struct case_list cases = built(builders[b], &stories);
        for (size_t i = 0; i < cases.count; i++) {
            const struct question *question = &cases.questions[i];
            int right = 0;
            for (size_t s = 0; s < stories.count; s++)
                right += is_beginning(question->texts[0], texts[s]);
            assert_int_equal(right, 1);
            for (int c = 1; c < question->count; c++)
                for (size_t s = 0; s < stories.count; s++)
                    assert_false(is_beginning(question->texts[c], texts[s]));
        }
        case_list_free(&cases);
    }
}

static void an_ending_is_a_sentence_that_says_something(void **state) {
    (void)state;
    struct case_list cases = built(choices_endings, &stories);
    assert_int_equal(cases.count, 5);
    assert_int_equal(cases.questions[0].count, 4);
    assert_non_null(strstr(cases.questions[0].texts[0], "Then Lily took the ball and went home."));
    assert_null(strstr(cases.questions[0].texts[0], "The end."));
    case_list_free(&cases);
}

static void the_other_thing_is_not_of_the_story(void **state) {
    (void)state;
    struct case_list cases = built(choices_things, &stories);
    for (size_t i = 0; i < cases.count; i++) {
        const char *wrong = strrchr(cases.questions[i].texts[1], ' ') + 1;
        assert_null(strstr(cases.questions[i].texts[0], wrong));
    }
    assert_string_equal(cases.questions[0].texts[0],
                        "One day a girl named Lily saw the ball. The cat saw Tim. Lily gave the "
                        "ball to Tim. Then Lily took the ball");
    case_list_free(&cases);
}

static void the_other_name_came_before(void **state) {
    (void)state;
    const char *text = "A girl named Ann met Bob. Soon Ann saw that Bob was sad, so Ann met Cid.";
    const struct story_list one = {(char **)&text, 1, 1};
    struct case_list cases = built(choices_names, &one);
    assert_int_equal(cases.count, 3); /* Ann twice more, Bob once, Cid never */
    assert_string_equal(cases.questions[0].texts[0],
                        "A girl named Ann met Bob. Soon Ann saw that Bob was sad, so Ann");
    assert_string_equal(cases.questions[0].texts[1],
                        "A girl named Ann met Bob. Soon Ann saw that Bob was sad, so Bob");
    assert_string_equal(cases.questions[1].texts[1], "A girl named Ann met Bob. Soon Bob");
    assert_string_equal(cases.questions[2].texts[1],
                        "A girl named Ann met Bob. Soon Ann saw that Ann");
    case_list_free(&cases);
}

static void swapped_sentences_are_neighbors(void **state) {
    (void)state;
    const char *text = "One two three. Four five six. Seven eight nine.";
    const struct story_list one = {(char **)&text, 1, 1};
    struct case_list cases = built(choices_order, &one);
    assert_int_equal(cases.count, 1);
    assert_string_equal(cases.questions[0].texts[0], text);
    assert_string_equal(cases.questions[0].texts[1],
                        "One two three. Seven eight nine. Four five six.");
    case_list_free(&cases);
}

static void the_seed_determines_the_cases(void **state) {
    (void)state;
    struct case_list first = built(choices_endings, &stories);
    struct case_list second = built(choices_endings, &stories);
    for (size_t i = 0; i < first.count; i++)
        for (int c = 0; c < 4; c++)
            assert_string_equal(first.questions[i].texts[c], second.questions[i].texts[c]);
    case_list_free(&first);
    case_list_free(&second);
}

/* ---- pairs ----------------------------------------------------------------- */

static void pairs_are_read_by_kind(void **state) {
    (void)state;
    struct case_list cases = {0};
    struct error err;
    const char *path = scratch_write_text(
        &scratch, "pairs.jsonl",
        "{\"kind\":\"factual\",\"prompt\":\"Ice is\",\"right\":\"cold.\",\"wrong\":\"hot.\"}\n"
        "\n"
        "{\"kind\":\"context\",\"prompt\":\"Tom\",\"right\":\", he\",\"wrong\":\", she\"}");
    assert_int_equal(pairs_read(&cases, path, "factual", &err), STATUS_OK);
    assert_int_equal(cases.count, 1);
    assert_string_equal(cases.questions[0].texts[0], "Ice is cold.");
    assert_string_equal(cases.questions[0].texts[1], "Ice is hot.");
    assert_int_equal(pairs_read(&cases, path, "context", &err), STATUS_OK);
    assert_string_equal(cases.questions[1].texts[1], "Tom, she");
    case_list_free(&cases);
}

static void a_line_that_is_no_pair_is_shown(void **state) {
    (void)state;
    const char *const lines[] = {"no JSON", "[1]", "{\"kind\":\"factual\",\"prompt\":\"a\"}"};
    for (int i = 0; i < 3; i++) {
        struct case_list cases = {0};
        struct error err;
        const char *path = scratch_write_text(&scratch, "pairs.jsonl", lines[i]);
        assert_int_equal(pairs_read(&cases, path, "factual", &err), STATUS_CORRUPT);
        assert_non_null(strstr(err.message, lines[i]));
        case_list_free(&cases);
    }
}

/* ---- intervals ------------------------------------------------------------- */

static void intervals_are_wilsons(void **state) {
    (void)state;
    /* Computed apart, in Python, by the formula of the paper. */
    static const struct {
        double right, cases, low, high;
    } known[] = {{50, 100, 0.403832, 0.596168}, {0, 20, 0, 0.161125}, {19, 20, 0.763869, 0.991119}};
    for (int i = 0; i < 3; i++) {
        struct interval interval = interval_wilson(known[i].right, known[i].cases);
        assert_true(fabs(interval.low - known[i].low) < 1e-5);
        assert_true(fabs(interval.high - known[i].high) < 1e-5);
    }
    assert_true(interval_wilson(0, 0).low == 0 && interval_wilson(0, 0).high == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentences_end_outside_of_quotes),
        cmocka_unit_test(an_answer_is_the_first_sentence_that_says_something),
        cmocka_unit_test(names_and_things_come_from_the_stories),
        cmocka_unit_test(a_right_text_is_the_story_and_the_others_are_not),
        cmocka_unit_test(an_ending_is_a_sentence_that_says_something),
        cmocka_unit_test(the_other_thing_is_not_of_the_story),
        cmocka_unit_test(the_other_name_came_before),
        cmocka_unit_test(swapped_sentences_are_neighbors),
        cmocka_unit_test(the_seed_determines_the_cases),
        SCRATCH_TEST(pairs_are_read_by_kind),
        SCRATCH_TEST(a_line_that_is_no_pair_is_shown),
        cmocka_unit_test(intervals_are_wilsons),
    };
    return cmocka_run_group_tests_name("choices", tests, NULL, NULL);
}
