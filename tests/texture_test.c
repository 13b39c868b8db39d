/* Figures of stories, what parsers are asked, and what is in the training text word for word. */
#include "evaluation/link_parser.h"
#include "evaluation/memory.h"
#include "evaluation/texture.h"
#include "evaluation/training_words.h"
#include "tests/support/scratch.h"

#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const training[] = {
    "One day a girl named Lily met a boy called Tim. Then Lily saw Tim, and Tim saw Mom.",
    "A dog named Tim and a cat named Lily ran, and Lily sang. The mom ran.",
    "Once a fox named Zed ran.",
};

static struct training_words learned(void) {
    struct training_words words = {0};
    struct error err;
    for (size_t i = 0; i < sizeof training / sizeof *training; i++)
        assert_int_equal(training_words_learn(&words, training[i], &err), STATUS_OK);
    assert_int_equal(training_words_finish(&words, &err), STATUS_OK);
    return words;
}

static struct word word_of(const char *text) {
    return (struct word){text, strlen(text)};
}

static void names_are_introduced_and_have_capitals(void **state) {
    (void)state;
    struct training_words words = learned();
    assert_true(training_words_is_name(&words, word_of("lily")));
    assert_true(training_words_is_name(&words, word_of("Tim")));
    assert_false(training_words_is_name(&words, word_of("zed"))); /* introduced once only */
    assert_false(training_words_is_name(&words, word_of("mom")));
    assert_false(training_words_is_name(&words, word_of("girl")));
    assert_true(training_words_know(&words, word_of("zed")));
    assert_true(training_words_know(&words, word_of("Sang")));
    assert_false(training_words_know(&words, word_of("dragon")));
    training_words_free(&words);
}

/* The figures of a few stories, all of which ended but the last. */
static struct texture measured(const char *const *texts, size_t count) {
    struct training_words words = learned();
    struct story_set unfit = {0};
    struct error err;
    bool added, ended[8] = {0};
    char *stories[8];
    struct texture texture;
    for (size_t i = 0; i < count; i++) {
        stories[i] = strdup(texts[i]);
        ended[i] = i + 1 < count;
    }
    assert_int_equal(story_set_add(&unfit, word_hash(word_of("gun")), &added, &err), STATUS_OK);
    const struct texture_stories set = {stories, ended, count};
    assert_int_equal(texture_measure(&texture, &set, &words, &unfit, &err), STATUS_OK);
    for (size_t i = 0; i < count; i++)
        free(stories[i]);
    story_set_free(&unfit);
    training_words_free(&words);
    return texture;
}

static void assert_near(double value, double expected) {
    if (fabs(value - expected) > 1e-9)
        fail_msg("%.12g is not %.12g", value, expected);
}

static void variety_is_counted_in_words(void **state) {
    (void)state;
    const char *const texts[] = {"the dog ran. the dog sat.", "The dog!"};
    struct texture t = measured(texts, 2);
    assert_near(t.words, 4);
    assert_near(t.sentence_words, 8.0 / 3);
    assert_near(t.ended, 0.5);
    assert_int_equal(t.distinct_words, 8);
    assert_near(t.distinct[0], 4.0 / 8);
    assert_near(t.distinct[1], 4.0 / 6); /* n-grams do not go from one story to the next */
    assert_near(t.distinct[3], 1);
    texture_free(&t);
}

static void repetition_is_that_of_one_story(void **state) {
    (void)state;
    const char *const texts[] = {"a dog ran and ran. a dog ran and ran.", "a dog ran and ran."};
    struct texture t = measured(texts, 2);
    assert_near(t.repeated_ngrams, 2.0 / 9);
    assert_near(t.repeated_sentence, 0.5);
    texture_free(&t);

    const char *const short_ones[] = {"oh no! oh no! oh no!", ""};
    t = measured(short_ones, 2);
    assert_near(t.repeated_sentence, 0);
    texture_free(&t);
}

static void odd_words_are_counted_and_shown(void **state) {
    (void)state;
    const char *const texts[] = {"a girl ran. the dragon had a gun. a gun!", "the dragon ran"};
    struct texture t = measured(texts, 2);
    assert_near(t.unknown_words, 10000 * 5.0 / 13);
    assert_string_equal(t.unknown_examples.data, "dragon, had, gun");
    assert_near(t.unfit_words, 10000 * 2.0 / 13);
    assert_string_equal(t.unfit_examples.data, "gun");
    texture_free(&t);
}

static void open_quotations_count_where_a_story_ended(void **state) {
    (void)state;
    const char *const texts[] = {"\"hello, said lily.", "\"hello,\" said tim.", "\xE2\x80\x9Chello",
                                 "\"cut off"};
    struct texture t = measured(texts, 4);
    assert_near(t.unbalanced, 2.0 / 3);
    texture_free(&t);
}

static void names_that_vanish_or_come_from_nowhere_are_found(void **state) {
    (void)state;
    const char *const texts[] = {
        "lily ran and ran. then a dog sat and sat.",           /* lily is gone */
        "lily ran and ran. then lily sat and tim sat.",        /* tim is from nowhere */
        "lily ran and ran. then a dog named tim sat by lily.", /* tim is introduced */
        "a dog ran and ran. then it sat.",
    };
    struct texture t = measured(texts, 4);
    assert_near(t.name_vanishes, 1.0 / 3);
    assert_near(t.name_appears, 1.0 / 4);
    texture_free(&t);
}

static void nothing_has_figures_too(void **state) {
    (void)state;
    struct texture t = measured(NULL, 0);
    assert_near(t.words, 0);
    assert_near(t.distinct[0], 0);
    assert_string_equal(t.unknown_examples.data, "");
    texture_free(&t);
}

static void lists_leave_out_comments(void **state) {
    (void)state;
    struct story_set list = {0};
    struct error err;
    const char *path = scratch_write_text(&scratch, "list.txt", "# none\ngun\r\n\nbomb");
    assert_int_equal(texture_read_list(&list, path, &err), STATUS_OK);
    assert_int_equal(list.count, 2);
    assert_true(story_set_has(&list, word_hash(word_of("gun"))));
    assert_true(story_set_has(&list, word_hash(word_of("bomb"))));
    story_set_free(&list);
    assert_int_equal(texture_read_list(&list, scratch_path(&scratch, "none"), &err),
                     STATUS_NOT_FOUND);
    story_set_free(&list);
}

/* ---- the parser ------------------------------------------------------------- */

static void sentences_get_capitals_for_the_parser(void **state) {
    (void)state;
    struct training_words words = learned();
    struct buffer lines = {0};
    struct error err;
    size_t count;
    char story[] = "then i saw lily and mom. oh no! \"come to me!\" said tim. \"stop. do not go,\" "
                   "he said. the end";
    char *texts[] = {story};
    bool ended[] = {true};
    const struct texture_stories stories = {texts, ended, 1};
    assert_int_equal(link_parser_sample(&stories, &words, 1, &lines, &count, &err), STATUS_OK);
    /* "oh no!" is short, "stop. do not go" is two sentences, and "the end" has no end. */
    assert_int_equal(count, 2);
    assert_non_null(strstr(lines.data, "Then I saw Lily and mom.\n"));
    assert_non_null(strstr(lines.data, "\"Come to me!\" said Tim.\n"));
    buffer_free(&lines);
    training_words_free(&words);
}

static void the_parser_knows_sentences_from_heaps_of_words(void **state) {
    (void)state;
    struct buffer lines = {0};
    struct error err;
    size_t parsed;
    if (!link_parser_is_here())
        skip();
    buffer_append_text(&lines, "The dog ran to the big tree.\nThe of dog tree and big.\n"
                               "\"I am happy,\" said Tom.\n");
    assert_int_equal(link_parser_run(&lines, 3, &parsed, &err), STATUS_OK);
    assert_int_equal(parsed, 2);
    /* As many answers as sentences, or it is an error. */
    assert_int_equal(link_parser_run(&lines, 4, &parsed, &err), STATUS_IO);
    buffer_free(&lines);
}

static void a_parser_that_is_not_there_is_not_run(void **state) {
    (void)state;
    char *path = strdup(getenv("PATH") ? getenv("PATH") : "");
    struct buffer lines = {0};
    struct error err;
    size_t parsed;
    setenv("PATH", scratch_path(&scratch, "nowhere"), 1);
    assert_false(link_parser_is_here());
    buffer_append_text(&lines, "A dog ran.\n");
    assert_int_equal(link_parser_run(&lines, 1, &parsed, &err), STATUS_IO);
    setenv("PATH", path, 1);
    buffer_free(&lines);
    free(path);
}

/* ---- memory ----------------------------------------------------------------- */

enum { STORIES = 40, LENGTH = 50, KINDS = 12, BOS = 1, EOS = 2 };

/* Stories of random ids from 3 on. */
static struct training_text random_training(uint64_t seed) {
    struct training_text d = {.stories = STORIES, .id_count = STORIES * (LENGTH + 2)};
    d.ids = calloc(d.id_count, sizeof *d.ids);
    for (size_t s = 0; s < STORIES; s++) {
        uint16_t *story = d.ids + s * (LENGTH + 2);
        story[0] = BOS;
        for (size_t i = 1; i <= LENGTH; i++)
            story[i] = (uint16_t)(3 + rng_bits(seed, s * LENGTH + i) % KINDS);
        story[LENGTH + 1] = EOS;
    }
    return d;
}

static struct token_list random_story(uint64_t seed, size_t count) {
    struct token_list list = {0};
    for (size_t i = 0; i < count; i++)
        assert_true(token_list_append(&list, (int32_t)(3 + rng_bits(seed, i) % KINDS)));
    return list;
}

/* The same in the way that cannot be wrong: every position of one with every one of the other. */
static struct memory_run longest_by_trying(const struct training_text *d,
                                            const struct token_list *story) {
    struct memory_run best = {0};
    for (size_t j = 0; j < story->count; j++)
        for (size_t t = 0; t < d->id_count; t++) {
            size_t n = 0;
            while (j + n < story->count && t + n < d->id_count &&
                   d->ids[t + n] == (uint16_t)story->ids[j + n])
                n++;
            if (n > best.length)
                best = (struct memory_run){j, n};
        }
    return best;
}

static void longest_runs_are_what_trying_all_gives(void **state) {
    (void)state;
    struct training_text d = random_training(1);
    struct token_list stories[20];
    struct memory_run runs[20];
    struct pool *pool;
    struct error err;
    assert_int_equal(pool_create(&pool, 3, &err), STATUS_OK);
    for (uint64_t i = 0; i < 20; i++)
        stories[i] = random_story(100 + i / 2, 3 * (size_t)i); /* two begin alike, one is empty */
    assert_int_equal(memory_longest_runs(&d, stories, 20, pool, runs, &err), STATUS_OK);
    for (size_t i = 0; i < 20; i++) {
        struct memory_run expected = longest_by_trying(&d, &stories[i]);
        assert_int_equal(runs[i].length, expected.length);
        assert_int_equal(runs[i].begin, expected.begin);
        token_list_free(&stories[i]);
    }
    pool_destroy(pool);
    training_text_free(&d);
}

static void a_planted_copy_is_found(void **state) {
    (void)state;
    struct training_text d = random_training(1);
    struct token_list stories[5];
    struct memory_run runs[5];
    struct pool *pool;
    struct error err;
    assert_int_equal(pool_create(&pool, 2, &err), STATUS_OK);
    for (uint64_t i = 0; i < 5; i++)
        stories[i] = random_story(200 + i, 60);
    /* 30 ids of the training text's story 7 from place 10, and nothing that goes on like it. */
    for (size_t i = 0; i < 30; i++)
        stories[3].ids[20 + i] = d.ids[7 * (LENGTH + 2) + 10 + i];
    stories[3].ids[19] = stories[3].ids[50] = 3 + KINDS;
    assert_int_equal(memory_longest_runs(&d, stories, 5, pool, runs, &err), STATUS_OK);
    for (size_t i = 0; i < 5; i++)
        assert_true(i == 3 || runs[i].length < 15);
    assert_int_equal(runs[3].begin, 20);
    assert_int_equal(runs[3].length, 30);
    for (size_t i = 0; i < 5; i++)
        token_list_free(&stories[i]);
    pool_destroy(pool);
    training_text_free(&d);
}

static void runs_end_where_stories_do(void **state) {
    (void)state;
    uint16_t ids[] = {BOS, 5, 6, EOS, BOS, 7, 8, EOS};
    const struct training_text d = {.ids = ids, .stories = 2, .id_count = 8};
    int32_t first[] = {5, 6, 7, 8}, second[] = {6}, third[] = {7, 8};
    const struct token_list stories[] = {{first, 4, 4}, {second, 1, 1}, {third, 2, 2}};
    struct memory_run runs[3];
    struct pool *pool;
    struct error err;
    assert_int_equal(pool_create(&pool, 1, &err), STATUS_OK);
    assert_int_equal(memory_longest_runs(&d, stories, 3, pool, runs, &err), STATUS_OK);
    assert_int_equal(runs[0].length, 2);
    assert_int_equal(runs[1].length, 1);
    assert_int_equal(runs[2].length, 2);

    int32_t impossible[] = {70000};
    const struct token_list wrong = {impossible, 1, 1};
    assert_int_equal(memory_longest_runs(&d, &wrong, 1, pool, runs, &err), STATUS_UNSUPPORTED);
    assert_int_equal(memory_longest_runs(&d, NULL, 0, pool, runs, &err), STATUS_OK);
    pool_destroy(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_introduced_and_have_capitals),
        cmocka_unit_test(variety_is_counted_in_words),
        cmocka_unit_test(repetition_is_that_of_one_story),
        cmocka_unit_test(odd_words_are_counted_and_shown),
        cmocka_unit_test(open_quotations_count_where_a_story_ended),
        cmocka_unit_test(names_that_vanish_or_come_from_nowhere_are_found),
        cmocka_unit_test(nothing_has_figures_too),
        SCRATCH_TEST(lists_leave_out_comments),
        cmocka_unit_test(sentences_get_capitals_for_the_parser),
        cmocka_unit_test(the_parser_knows_sentences_from_heaps_of_words),
        SCRATCH_TEST(a_parser_that_is_not_there_is_not_run),
        cmocka_unit_test(longest_runs_are_what_trying_all_gives),
        cmocka_unit_test(a_planted_copy_is_found),
        cmocka_unit_test(runs_end_where_stories_do),
    };
    return cmocka_run_group_tests_name("texture", tests, NULL, NULL);
}
