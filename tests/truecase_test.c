/* Capitals: the truecaser with the table that ships and without one, in streams, after prompts. */
#include "base/file.h"
#include "tests/support/scratch.h"
#include "tokenizer/letters.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/truecase.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SHIPPED "weights/small/truecase.txt"

static struct truecase_table *shipped, *small;

static int load_tables(void **state) {
    (void)state;
    struct error err = {0};
    if (truecase_table_load(&shipped, SHIPPED, &err) == STATUS_OK &&
        truecase_table_load(&small, "weights/small/no_such_table.txt", &err) == STATUS_OK)
        return 0;
    print_error("%s (run from the repository's root)\n", err.message);
    return 1;
}

static int free_tables(void **state) {
    (void)state;
    truecase_table_free(shipped);
    truecase_table_free(small);
    return 0;
}

/* `text` after `prompt`, in pieces of so many bytes. The caller frees it. */
static struct buffer restore(const struct truecase_table *table, const char *prompt,
                             const char *text, size_t piece) {
    struct truecaser truecaser;
    struct buffer out = {0};
    size_t bytes = strlen(text);
    truecaser_start(&truecaser, table);
    truecaser_read(&truecaser, prompt, strlen(prompt));
    buffer_append_text(&out, "");
    for (size_t at = 0; at < bytes; at += piece)
        assert_int_equal(truecaser_push(&truecaser, text + at,
                                        bytes - at < piece ? bytes - at : piece, &out, NULL),
                         STATUS_OK);
    assert_int_equal(truecaser_finish(&truecaser, &out, NULL), STATUS_OK);
    return out;
}

/* The text in lower case comes out as it is here. */
static void expect_after(const struct truecase_table *table, const char *prompt,
                         const char *right) {
    char lower[512];
    size_t bytes = strlen(right);
    assert_true(bytes < sizeof lower);
    memcpy(lower, right, bytes + 1);
    letters_lower(lower, bytes);
    for (size_t piece = 1; piece <= bytes + 1; piece++) {
        struct buffer out = restore(table, prompt, lower, piece);
        assert_string_equal(out.data, right);
        buffer_free(&out);
    }
}

static void expect(const struct truecase_table *table, const char *right) {
    expect_after(table, "", right);
}

static void sentences_and_i_have_capitals_without_a_table(void **state) {
    (void)state;
    expect(small, "Once upon a time, there was a girl named lily. She ran! Where? Home. The end.");
    expect(small, "\"I'm here,\" she said. \"So am I.\" They laughed.");
    expect(small, "He said, \"hello.\" Then he left.");
    expect(small, "It was 3. Élodie came. ...");
    expect(small, "");
}

static void quotes_begin_with_a_capital_and_end_without_one(void **state) {
    (void)state;
    expect(shipped, "Mom said, \"Let's go home.\" They went.");
    expect(shipped, "\"Can I help?\" asked the bear.");
    expect(shipped, "A girl saw it. \"Look!\" she said. \"It is a bird.\"");
    expect(shipped, "“What a nice day!” said the frog.");
    expect(shipped, "The boy said, \"Hi.\" The girl smiled.");
}

static void names_have_capitals_by_what_is_before_them(void **state) {
    (void)state;
    expect(shipped, "There was a girl named Lily. Her friend Tom had a dog named Max.");
    expect(shipped, "The rabbit saw Mr. Bear and Mrs. Fox in the park.");
    expect(shipped, "She saw a red spot on her dress. She had a dog named Spot.");
    expect(shipped, "The sun rose. A girl named Rose woke up and saw a rose.");
    expect(shipped, "She went home with her mom. \"Are you happy?\" Mom asked.");
}

static void a_name_is_remembered(void **state) {
    (void)state;
    expect(shipped, "There was a dragon named Zorblax. One day, Zorblax met a bee. "
                    "The bee liked Zorblax. \"Hi, Zorblax!\" it said.");
    /* One that nobody knows has none before it was named. */
    expect(shipped, "The bee liked zorblax.");
}

static void a_prompt_is_part_of_the_text(void **state) {
    (void)state;
    expect_after(shipped, "One day, Zorblax met Quibby",
                 " in the park. Then Quibby gave Zorblax a cake.");
    expect_after(shipped, "the dog was named", " Zorblax. Zorblax ran.");
    expect_after(shipped, "Once upon a time", ", there was a cat. The cat sat.");
    /* A word that the prompt began goes on as it is; after a blank it is a new one. */
    expect_after(shipped, "One day. T", "he cat sat.");
    expect_after(shipped, "One day. t", "he cat sat.");
    expect_after(shipped, "One day. ", "The cat sat.");
    expect_after(small, "He said that i", "'m late. Oh.");
    /* What shouts names nobody. */
    expect_after(shipped, "THE CAT SAW A DOG.", " The cat ran to the dog.");
}

static void a_capital_that_is_there_stays(void **state) {
    (void)state;
    struct buffer out = restore(small, "", "the McX saw NASA. oK", 3);
    assert_string_equal(out.data, "The McX saw NASA. OK");
    buffer_free(&out);
}

static void the_unfinished_word_is_held_back(void **state) {
    (void)state;
    struct truecaser truecaser;
    struct buffer out = {0};
    truecaser_start(&truecaser, small);
    truecaser_push(&truecaser, "it was", 6, &out, NULL);
    assert_string_equal(out.data, "It ");
    truecaser_push(&truecaser, ".", 1, &out, NULL);
    assert_string_equal(out.data, "It was.");
    truecaser_push(&truecaser, " \xC3", 2, &out, NULL); /* half a character */
    assert_string_equal(out.data, "It was. ");
    truecaser_push(&truecaser, "\xA9", 1, &out, NULL);
    truecaser_finish(&truecaser, &out, NULL);
    assert_string_equal(out.data, "It was. É");
    buffer_free(&out);
}

static void a_word_that_is_too_long_is_no_word(void **state) {
    (void)state;
    char text[2000] = ". ";
    struct truecaser truecaser;
    struct buffer out = {0};
    memset(text + 2, 'a', sizeof text - 3);
    truecaser_start(&truecaser, small);
    truecaser_push(&truecaser, text, sizeof text - 1, &out, NULL);
    assert_true(out.size > sizeof text - 1 - 60); /* not held back */
    truecaser_push(&truecaser, ". b c", 5, &out, NULL);
    truecaser_finish(&truecaser, &out, NULL);
    assert_memory_equal(out.data, text, sizeof text - 1);
    assert_string_equal(out.data + sizeof text - 1, ". B c");
    buffer_free(&out);
}

static void no_table_raises_nothing(void **state) {
    (void)state;
    struct buffer out = restore(NULL, "", "one. i am.", 4);
    assert_string_equal(out.data, "one. i am.");
    buffer_free(&out);
}

/* ---- tables -------------------------------------------------------------------------- */

static void weights_and_forms_decide(void **state) {
    (void)state;
    struct truecase_table *table = NULL;
    const char text[] = "truecase 1\n# names\n=McTavish\n9 w mctavish\n5 w cat\n-6 b the cat\n";
    assert_int_equal(truecase_table_parse(&table, text, strlen(text), "it", NULL), STATUS_OK);
    expect(table, "a Cat, the cat and McTavish's Cat");
    truecase_table_free(table);
}

static void a_wrong_table_is_refused_with_its_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } wrong[] = {
        {"", "it is no table for capitals: it is empty"},
        {"hello\n", "it is no table for capitals: line 1 is not \"truecase 1\""},
        {"truecase 1\n9 w a\nx w b\n", "it: line 3 is neither \"WEIGHT FEATURE\" nor words"},
        {"truecase 1\n\n", "it: line 2 is neither \"WEIGHT FEATURE\" nor words"},
        {"truecase 1\n9\n9 w a\n", "it: line 2 is neither \"WEIGHT FEATURE\" nor words"},
        {"truecase 1\n9 \n", "it: line 2 is neither \"WEIGHT FEATURE\" nor words"},
        {"truecase 1\n100000 w a\n", "it: line 2 is neither \"WEIGHT FEATURE\" nor words"},
        {"truecase 1\n~a b\n", "it: line 2 is neither \"WEIGHT FEATURE\" nor words"},
        {"truecase 1\n=\n", "it: line 2 is neither \"WEIGHT FEATURE\" nor words"},
        {"truecase 1", "it is cut off inside line 1"},
        {"truecase 1\n9 w ab\n9 w b", "it is cut off inside line 3"},
        {"truecase 1\n# 4 lines\n9 w a\n", "it is cut off: it has 3 of its 4 lines"},
        {"truecase 1\n# 4 lines\n", "it is cut off: it has 2 of its 4 lines"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct truecase_table *table = NULL;
        struct error err = {0};
        assert_int_equal(truecase_table_parse(&table, wrong[i].text, strlen(wrong[i].text), "it",
                                              &err),
                         STATUS_CORRUPT);
        assert_string_equal(err.message, wrong[i].message);
    }
    static char large[TRUECASE_FILE_BYTES];
    struct truecase_table *table = NULL;
    memset(large, '#', sizeof large);
    assert_int_equal(truecase_table_parse(&table, large, sizeof large, "it", NULL),
                     STATUS_TOO_LARGE);
}

static void a_table_that_ships_is_read_whole_or_not_at_all(void **state) {
    (void)state;
    struct buffer text = {0};
    struct error err;
    assert_int_equal(file_read(SHIPPED, TRUECASE_FILE_BYTES, &text, NULL), STATUS_OK);
    for (size_t line = 12, cut; line < text.size; line += 997) {
        line += strcspn(text.data + line, "\n") + 1;
        for (cut = line - 2; cut <= line && cut < text.size; cut++) {
            struct truecase_table *table = NULL;
            assert_int_equal(truecase_table_parse(&table, text.data, cut, "it", &err),
                             STATUS_CORRUPT);
            assert_memory_equal(err.message, "it", 2);
        }
    }
    buffer_free(&text);
}

/* ---- letters ------------------------------------------------------------------------- */

static void letters_change_case_and_keep_their_bytes(void **state) {
    (void)state;
    char text[] = "AZ az ÀÖØÞ Ÿ Āĩ Ķ Ĺ Ň Ŋ Ŷ Ź Ž ΑΣΩ АЯЀЏ İı ß × ÷ \xC3";
    letters_lower(text, sizeof text - 1);
    assert_string_equal(text, "az az àöøþ ÿ āĩ ķ ĺ ň ŋ ŷ ź ž ασω аяѐџ İı ß × ÷ \xC3");
    static const char *const pairs[][2] = {{"a", "A"}, {"é", "É"}, {"ÿ", "Ÿ"}, {"ž", "Ž"},
                                           {"ω", "Ω"}, {"џ", "Џ"}, {"ň", "Ň"}, {"ī", "Ī"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char letter[5];
        strcpy(letter, pairs[i][0]);
        assert_false(letters_is_upper(letter, strlen(letter)));
        assert_true(letters_raise(letter, strlen(letter)));
        assert_string_equal(letter, pairs[i][1]);
        assert_true(letters_is_upper(letter, strlen(letter)));
        assert_false(letters_raise(letter, strlen(letter)));
        assert_true(letters_match(letter, pairs[i][0], strlen(letter)));
        assert_false(letters_match("b", pairs[i][0], 1));
    }
    static const char *const alone[] = {"1", "ß", "ı", "ς", "÷", "\xFF", "€", "😀", " "};
    for (size_t i = 0; i < sizeof alone / sizeof *alone; i++) {
        char letter[5];
        strcpy(letter, alone[i]);
        assert_false(letters_raise(letter, strlen(letter)));
        assert_string_equal(letter, alone[i]);
    }
}

/* Whether a file has this text; NULL: there is no such file. */
static void assert_file(const char *name, const char *expected) {
    char *text = scratch_read(&scratch, name);
    assert_int_equal(text != NULL, expected != NULL);
    if (expected)
        assert_string_equal(text, expected);
    free(text);
}

static void a_table_goes_with_its_tokenizer(void **state) {
    (void)state;
    char folder[4096], tokenizer[4096];
    strcpy(folder, scratch_path(&scratch, "model"));
    strcpy(tokenizer, scratch_path(&scratch, "pieces"));
    assert_int_equal(file_make_folder(folder, NULL), STATUS_OK);
    assert_int_equal(tokenizer_copy(tokenizer, folder, NULL), STATUS_NOT_FOUND);
    scratch_write_text(&scratch, "pieces", "a");
    assert_int_equal(tokenizer_copy(tokenizer, folder, NULL), STATUS_OK);
    assert_file("model/tokenizer.model", "a");
    assert_file("model/" TRUECASE_FILE, NULL); /* there is none to take along */
    scratch_write_text(&scratch, "pieces", "b");
    scratch_write_text(&scratch, TRUECASE_FILE, "c");
    assert_int_equal(tokenizer_copy(tokenizer, folder, NULL), STATUS_OK);
    assert_file("model/tokenizer.model", "b");
    assert_file("model/" TRUECASE_FILE, "c");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentences_and_i_have_capitals_without_a_table),
        cmocka_unit_test(quotes_begin_with_a_capital_and_end_without_one),
        cmocka_unit_test(names_have_capitals_by_what_is_before_them),
        cmocka_unit_test(a_name_is_remembered),
        cmocka_unit_test(a_prompt_is_part_of_the_text),
        cmocka_unit_test(a_capital_that_is_there_stays),
        cmocka_unit_test(the_unfinished_word_is_held_back),
        cmocka_unit_test(a_word_that_is_too_long_is_no_word),
        cmocka_unit_test(no_table_raises_nothing),
        cmocka_unit_test(weights_and_forms_decide),
        cmocka_unit_test(a_wrong_table_is_refused_with_its_line),
        cmocka_unit_test(a_table_that_ships_is_read_whole_or_not_at_all),
        SCRATCH_TEST(a_table_goes_with_its_tokenizer),
        cmocka_unit_test(letters_change_case_and_keep_their_bytes),
    };
    return cmocka_run_group_tests(tests, load_tables, free_tables);
}
