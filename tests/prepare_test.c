/* Cleaning, duplicates, the split and the files that prepare writes. */
#include "tests/support/scratch.h"
#include "train/commands.h"
#include "train/data/prepare.h"
#include "train/data/story_set.h"
#include "train/data/text_clean.h"

#include "base/buffer.h"
#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- cleaning --------------------------------------------------------------- */

static void assert_cleans(const char *text, const char *expected, size_t expected_repairs) {
    struct buffer clean = {0}, again = {0};
    size_t repairs = 0;
    assert_int_equal(text_clean(text, strlen(text), &clean, &repairs), TEXT_GOOD);
    assert_string_equal(clean.data, expected);
    assert_int_equal(repairs, expected_repairs);
    assert_int_equal(text_clean(clean.data, clean.size, &again, &repairs), TEXT_GOOD);
    assert_string_equal(again.data, expected);
    assert_int_equal(repairs, expected_repairs);
    buffer_free(&clean);
    buffer_free(&again);
}

static void white_space_becomes_one_space(void **state) {
    (void)state;
    assert_cleans("\n \"hello!\"\r\n\n\tthe  Dog said. \n", "\"hello!\" the Dog said.", 0);
    assert_cleans("a\x01" "b\x7F" "c\xC2\x85" "d\xE2\x80\xA8" "e", "a b c d e", 0);
    assert_cleans("One.<|endoftext|>Two <|endoftext", "One. Two <|endoftext", 0);
    assert_cleans("caf\xC3\xA9\xC2\xA0!", "caf\xC3\xA9\xC2\xA0!", 0);
}

static void mojibake_is_undone(void **state) {
    (void)state;
    assert_cleans("â€œHi,â€\xC2\x9D she said", "“Hi,” she said", 2);
    assert_cleans("â€œHi,â€ she said. â€œBye!â€", "“Hi,” she said. “Bye!”", 4);
    assert_cleans("Itâ€™s â€˜funâ€™", "It’s ‘fun’", 3);
    assert_cleans("noâ€”stop, 1â€“2, waitâ€¦", "no—stop, 1–2, wait…", 3);
    assert_cleans("noâ€\"stop", "no—stop", 1);
    assert_cleans("cafÃ© seÃ±or Ã\xC2\xA0 Ã‰", "café señor à É", 4);
    assert_cleans("cafã© and seã±or", "café and señor", 2);
    assert_cleans("10Â° for Â£5", "10° for £5", 2);
    assert_cleans("5â‚¬ Acmeâ„¢ ðŸ˜€", "5€ Acme™ 😀", 3);
    assert_cleans("Itâ\xC2\x80\xC2\x99s", "It’s", 1);
    /* "It’s" misread twice: three misread characters, then one. */
    assert_cleans("ItÃ¢â‚¬â„¢s", "It’s", 4);
}

static void correct_text_stays(void **state) {
    (void)state;
    static const char *const texts[] = {
        "“It’s a café,” said Zoë – “naïve…” and left—à la carte. ½ ñ ã â Â Ã €5 😀",
        "“SÃO” and “Ã”… ‘Â’ “â” “CAFÉ”…", "â, ê, ô", "Ã–", "«Ã»", "ð is a letter", "日本語 ÃÂ",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_cleans(texts[i], texts[i], 0);
}

static void no_text_is_empty(void **state) {
    (void)state;
    struct buffer clean = {0};
    size_t repairs = 0;
    assert_int_equal(text_clean("", 0, &clean, &repairs), TEXT_EMPTY);
    assert_int_equal(text_clean(" \n\t<|endoftext|>\0", 17, &clean, &repairs), TEXT_EMPTY);
    buffer_free(&clean);
}

static void broken_utf8_is_reported(void **state) {
    (void)state;
    static const char *const texts[] = {
        "a\x92s",           "\xC3",         "a\xE2\x80",         "\xC0\x80",
        "\xED\xA0\x80",     "\xF5\x80\x80\x80", "\x80",          "\xE2\x28\xA1",
        "\xF0\x82\x82\xAC", "\xFF",
    };
    struct buffer clean = {0};
    size_t repairs = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(text_clean(texts[i], strlen(texts[i]), &clean, &repairs),
                         TEXT_INVALID_UTF8);
    buffer_free(&clean);
}

/* ---- the set ---------------------------------------------------------------- */

static void set_remembers_each_text(void **state) {
    (void)state;
    enum { TEXTS = 20000 };
    struct story_set set = {0};
    bool added;
    char text[32];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < TEXTS; i++) {
            size_t bytes = (size_t)snprintf(text, sizeof text, "%*d", i % 24 + 1, i);
            struct story_hash hash = story_hash(text, bytes);
            assert_int_equal(story_set_has(&set, hash), round);
            assert_int_equal(story_set_add(&set, hash, &added, NULL), STATUS_OK);
            assert_int_equal(added, !round);
        }
    }
    assert_int_equal(set.count, TEXTS);
    const struct story_hash zero = {0, 0};
    assert_false(story_set_has(&set, zero));
    assert_int_equal(story_set_add(&set, zero, &added, NULL), STATUS_OK);
    assert_true(added && story_set_has(&set, zero));
    story_set_free(&set);
}

/* Known answers of MurmurHash3_x64_128 with seed 0, so that splits never change. */
static void hash_is_the_published_one(void **state) {
    (void)state;
    struct story_hash fox = story_hash("The quick brown fox jumps over the lazy dog", 43);
    assert_true(fox.low == 0xe34bbc7bbc071b6c && fox.high == 0x7a433ca9c49a9347);
    struct story_hash none = story_hash("", 0);
    assert_true(none.low == 0 && none.high == 0);
}

/* ---- the files -------------------------------------------------------------- */

static enum status prepare(const char *input, const char *valid, double share, uint64_t seed,
                           struct prepare_report *report) {
    const char *inputs[] = {input};
    struct prepare_options options = {.inputs = inputs, .input_count = 1,
                                      .out = scratch_path(&scratch, "out"), .valid = valid,
                                      .valid_share = share, .vocab_share = 0.26,
                                      .vocab_all_below = 50000000, .seed = seed};
    struct error err = {0};
    enum status status = prepare_run(&options, report, &err);
    if (status != STATUS_OK)
        assert_true(err.message[0]);
    return status;
}

static void assert_file(const char *name, const char *expected) {
    char *text = scratch_read(&scratch, name);
    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
}

static void drops_and_counts(void **state) {
    (void)state;
    struct prepare_report report;
    const char *input = scratch_write_text(
        &scratch, "in.txt",
        "One\nday.<|endoftext|> \n<|endoftext|>One  day.<|endoftext|>Itâ€™s â€œTwoâ€.\n"
        "<|endoftext|>bad \x92<|endoftext|>one day.<|endoftext|>Held out.<|endoftext|>\n");
    const char *valid = scratch_write_text(&scratch, "valid.jsonl",
                                           "{\"text\":\"Held\\nout.\"}{\"text\":\"Held out.\"}"
                                           "{\"story\":\"Also \\ud83d\"}{\"text\":\"\"}");
    assert_int_equal(prepare(input, valid, 0.5, 1, &report), STATUS_OK);
    assert_file("out/train.txt", "One day.\nIt’s “Two”.\none day.\n");
    assert_file("out/valid.txt", "Held out.\nAlso \xEF\xBF\xBD\n");
    assert_file("out/vocab.txt", "One day.\nIt’s “Two”.\none day.\n");
    const struct prepare_counts inputs = {.read = 7, .empty = 1, .invalid = 1, .duplicate = 1,
                                          .in_validation = 1, .repaired = 1, .repairs = 3};
    const struct prepare_counts held = {.read = 4, .empty = 1, .duplicate = 1};
    assert_memory_equal(&report.inputs, &inputs, sizeof inputs);
    assert_memory_equal(&report.valid, &held, sizeof held);
    assert_int_equal(report.train_stories, 3);
    assert_int_equal(report.train_bytes, strlen("One day.It’s “Two”.one day."));
    assert_int_equal(report.valid_stories, 2);
}

static void one_story_is_enough_to_train_on(void **state) {
    (void)state;
    struct prepare_report report;
    const char *input =
        scratch_write_text(&scratch, "in.txt", "\xEF\xBB\xBF" "One\xEF\xBB\xBF day.");
    assert_int_equal(prepare(input, NULL, 0, 1, &report), STATUS_OK);
    assert_file("out/train.txt", "One day.\n");
    assert_file("out/valid.txt", "");
    assert_file("out/vocab.txt", "One day.\n");
    const char *inputs[] = {input};
    struct prepare_options options = {.inputs = inputs, .input_count = 1, .valid_share = 1,
                                      .out = scratch_path(&scratch, "out"), .vocab_share = 1};
    struct error err;
    assert_int_equal(prepare_run(&options, &report, &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "all 1 stories fell to validation"));
    assert_string_equal(err.field, "valid-share");
}

static void an_error_says_why_no_story_is_left(void **state) {
    (void)state;
    struct prepare_report report;
    const char *inputs[] = {scratch_write_text(&scratch, "in.txt", "caf\xE9\nna\xEFve\n")};
    struct prepare_options options = {.inputs = inputs, .input_count = 1,
                                      .out = scratch_path(&scratch, "out"), .vocab_share = 1};
    struct error err;
    assert_int_equal(prepare_run(&options, &report, &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "left of 2 read"));
    assert_non_null(strstr(err.message, "2 not UTF-8"));
}

enum { MANY = 4000 };

/* MANY different stories, in either direction. */
static const char *write_many(const char *name, bool backwards) {
    struct buffer text = {0};
    for (int i = 0; i < MANY; i++)
        buffer_printf(&text, "Story number %d.\n", backwards ? MANY - 1 - i : i);
    const char *path = scratch_write(&scratch, name, text.data, text.size);
    buffer_free(&text);
    return path;
}

static int compare_lines(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Every line of both files, sorted: to compare what went where, or all of it. */
static char *sorted_lines(const char *a, const char *b) {
    static const char *lines[2 * MANY];
    size_t count = 0;
    char *texts[2] = {scratch_read(&scratch, a), b ? scratch_read(&scratch, b) : NULL};
    for (int t = 0; t < 2 && texts[t]; t++) {
        for (char *line = strtok(texts[t], "\n"); line; line = strtok(NULL, "\n"))
            lines[count++] = line;
    }
    qsort(lines, count, sizeof *lines, compare_lines);
    struct buffer joined = {0};
    for (size_t i = 0; i < count; i++)
        buffer_printf(&joined, "%s\n", lines[i]);
    free(texts[0]);
    free(texts[1]);
    return buffer_release(&joined);
}

static void split_is_a_partition(void **state) {
    (void)state;
    struct prepare_report report;
    assert_int_equal(prepare(write_many("many.txt", false), NULL, 0.05, 1, &report), STATUS_OK);
    assert_int_equal(report.train_stories + report.valid_stories, MANY);
    assert_in_range(report.valid_stories, MANY * 3 / 100, MANY * 7 / 100);
    char *input = sorted_lines("many.txt", NULL);
    char *output = sorted_lines("out/train.txt", "out/valid.txt");
    assert_string_equal(input, output);
    free(input);
    free(output);
}

static void split_depends_on_seed_and_text_alone(void **state) {
    (void)state;
    struct prepare_report report;
    const char *input = write_many("many.txt", false);
    assert_int_equal(prepare(input, NULL, 0.05, 7, &report), STATUS_OK);
    char *first = sorted_lines("out/valid.txt", NULL);
    assert_int_equal(prepare(input, NULL, 0.05, 7, &report), STATUS_OK);
    char *same = sorted_lines("out/valid.txt", NULL);
    assert_int_equal(prepare(write_many("back.txt", true), NULL, 0.05, 7, &report), STATUS_OK);
    char *backwards = sorted_lines("out/valid.txt", NULL);
    assert_int_equal(prepare(input, NULL, 0.05, 8, &report), STATUS_OK);
    char *other = sorted_lines("out/valid.txt", NULL);
    assert_string_equal(first, same);
    assert_string_equal(first, backwards);
    assert_string_not_equal(first, other);
    free(first);
    free(same);
    free(backwards);
    free(other);
    assert_int_equal(prepare(input, NULL, 0, 8, &report), STATUS_OK);
    assert_int_equal(report.valid_stories, 0);
    assert_file("out/valid.txt", "");
}

static void vocabulary_takes_the_first_share(void **state) {
    (void)state;
    struct prepare_report report;
    const char *inputs[] = {write_many("many.txt", false)};
    struct prepare_options options = {.inputs = inputs, .input_count = 1,
                                      .out = scratch_path(&scratch, "out"), .vocab_share = 0.26,
                                      .vocab_all_below = 1000};
    assert_int_equal(prepare_run(&options, &report, NULL), STATUS_OK);
    double share = (double)report.vocab_bytes / (double)report.train_bytes;
    assert_true(share >= 0.26 && share < 0.261);
    char *train = scratch_read(&scratch, "out/train.txt"), *vocab = scratch_read(&scratch,
                                                                                "out/vocab.txt");
    size_t bytes = strlen(vocab);
    assert_memory_equal(train, vocab, bytes);
    assert_true(vocab[bytes - 1] == '\n');
    assert_int_equal(bytes, report.vocab_bytes + report.vocab_stories);
    free(train);
    free(vocab);
}

static void failure_leaves_the_old_files(void **state) {
    (void)state;
    struct prepare_report report;
    const char *good = scratch_write_text(&scratch, "good.txt", "One.\nTwo.\nThree.\n");
    assert_int_equal(prepare(good, NULL, 0, 1, &report), STATUS_OK);
    const char *bad = scratch_write_text(&scratch, "bad.jsonl", "{\"text\":\"a\"}\n{\"text\"");
    assert_int_equal(prepare(bad, NULL, 0, 1, &report), STATUS_CORRUPT);
    const char *blank = scratch_write_text(&scratch, "blank.txt", " \n\n");
    assert_int_equal(prepare(blank, NULL, 0, 1, &report), STATUS_INVALID);
    assert_int_equal(prepare(good, blank, 0, 1, &report), STATUS_INVALID);
    assert_int_equal(prepare(scratch_path(&scratch, "none"), NULL, 0, 1, &report),
                     STATUS_NOT_FOUND);
    assert_file("out/train.txt", "One.\nTwo.\nThree.\n");
    struct scratch out;
    snprintf(out.folder, sizeof out.folder, "%.240s/out", scratch.folder);
    assert_int_equal(scratch_count(&out), 3);
}

static int command(const char *const *words, int count) {
    char *argv[16];
    for (int i = 0; i < count; i++)
        argv[i] = (char *)(uintptr_t)words[i];
    return prepare_command(count, argv);
}

static void no_input_is_written_over(void **state) {
    (void)state;
    struct prepare_report report;
    const char *const mine = "One.\nOne.\nTwo.\n";
    static const char *const names[] = {"out/train.txt", "out/valid.txt", "out/vocab.txt"};
    const char *other = scratch_write_text(&scratch, "other.txt", "Three.\n");
    assert_int_equal(file_make_folder(scratch_path(&scratch, "out"), NULL), STATUS_OK);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *path = scratch_write_text(&scratch, names[i], mine);
        assert_int_equal(prepare(path, NULL, 0, 1, &report), STATUS_INVALID);
        assert_int_equal(prepare(other, path, 0, 1, &report), STATUS_INVALID);
        assert_file(names[i], mine);
    }
    assert_int_equal(prepare(scratch_path(&scratch, "out"), NULL, 0, 1, &report), STATUS_INVALID);
    assert_int_equal(prepare(other, NULL, 0, 1, &report), STATUS_OK); /* what another run wrote */
}

static void command_checks_its_arguments(void **state) {
    (void)state;
    const char *input = scratch_write_text(&scratch, "in.txt", "One.\nTwo.\n");
    const char *out = scratch_path(&scratch, "out");
    const char *const no_input[] = {"--out", out}, *const no_out[] = {input};
    const char *const too_much[] = {input, "--out", out, "--valid-share", "1.5"};
    const char *const unknown[] = {input, "--out", out, "--speed", "3"};
    const char *const right[] = {input, "--out", out, "--valid-share=0"};
    assert_int_equal(command(no_input, 2), 1);
    assert_int_equal(command(no_out, 1), 1);
    assert_int_equal(command(too_much, 5), 1);
    assert_int_equal(command(unknown, 5), 1);
    assert_null(scratch_read(&scratch, "out/train.txt"));
    assert_int_equal(command(right, 4), 0);
    assert_file("out/train.txt", "One.\nTwo.\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(white_space_becomes_one_space),
        SCRATCH_TEST(mojibake_is_undone),
        SCRATCH_TEST(correct_text_stays),
        SCRATCH_TEST(no_text_is_empty),
        SCRATCH_TEST(broken_utf8_is_reported),
        SCRATCH_TEST(set_remembers_each_text),
        SCRATCH_TEST(hash_is_the_published_one),
        SCRATCH_TEST(drops_and_counts),
        SCRATCH_TEST(one_story_is_enough_to_train_on),
        SCRATCH_TEST(an_error_says_why_no_story_is_left),
        SCRATCH_TEST(split_is_a_partition),
        SCRATCH_TEST(split_depends_on_seed_and_text_alone),
        SCRATCH_TEST(vocabulary_takes_the_first_share),
        SCRATCH_TEST(failure_leaves_the_old_files),
        SCRATCH_TEST(no_input_is_written_over),
        SCRATCH_TEST(command_checks_its_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
