/* Options from one table, and the lists that some of them hold. */
#include "base/flags.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct options {
    const char *model, *note;
    int rows;
    uint64_t seed, steps;
    double rate;
    bool verbose, progress;
};

static const struct flag flags[] = {
    {"model", FLAG_TEXT, offsetof(struct options, model), "mini", 0, 0, "NAME", "which model"},
    {"note", FLAG_TEXT, offsetof(struct options, note), NULL, 0, 0, "TEXT", "anything"},
    {"batch-rows", FLAG_INT, offsetof(struct options, rows), "64", 1, 4096, "rows", "rows a step"},
    {"seed", FLAG_U64, offsetof(struct options, seed), NULL, 0, 1.8446744073709552e19, "",
     "start of the random numbers"},
    {"steps", FLAG_U64, offsetof(struct options, steps), "1", 1, 0x1p53 - 1, "", "how many"},
    {"rate", FLAG_REAL, offsetof(struct options, rate), "0.5", 0, 1, "", "a share"},
    {"verbose", FLAG_SWITCH, offsetof(struct options, verbose), "off", 0, 0, "", "say more"},
    {"progress", FLAG_SWITCH, offsetof(struct options, progress), "on", 0, 0, "", "a line a step"},
};
static const struct flag_table table = {
    .usage = "test [options] FILE", .summary = "Tests.", .flags = flags,
    .count = sizeof flags / sizeof *flags, .env_prefix = "ALPACA_TEST_",
    .max_arguments = 2,
};

struct parsed {
    struct options options;
    const char *files[2];
    int file_count;
    bool help;
    struct error err;
    enum status status;
};

/* The arguments are separated by single spaces. */
static struct parsed parse(const char *line) {
    static char copy[256];
    char *arguments[32];
    int count = 0;
    struct parsed parsed = {0};
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        arguments[count++] = word;
    parsed.file_count = count;
    parsed.status = flags_parse(&table, &parsed.options, &parsed.file_count, arguments,
                                &parsed.help, &parsed.err);
    for (int i = 0; i < parsed.file_count; i++)
        parsed.files[i] = arguments[i];
    return parsed;
}

static void test_flags_defaults(void **state) {
    (void)state;
    struct parsed p = parse("");
    assert_int_equal(p.status, STATUS_OK);
    assert_string_equal(p.options.model, "mini");
    assert_null(p.options.note);
    assert_int_equal(p.options.rows, 64);
    assert_int_equal(p.options.seed, 0);
    assert_true(p.options.rate == 0.5);
    assert_false(p.options.verbose);
    assert_int_equal(p.file_count, 0);
}

static void test_flags_are_read(void **state) {
    (void)state;
    struct parsed p = parse("--model alpaca one --batch-rows=7 --seed 18446744073709551615 "
                            "--rate=1e-3 --verbose -- --two");
    assert_int_equal(p.status, STATUS_OK);
    assert_string_equal(p.options.model, "alpaca");
    assert_int_equal(p.options.rows, 7);
    assert_true(p.options.seed == UINT64_MAX);
    assert_true(p.options.rate == 1e-3);
    assert_true(p.options.verbose);
    assert_int_equal(p.file_count, 2);
    assert_string_equal(p.files[0], "one");
    assert_string_equal(p.files[1], "--two");
    assert_false(parse("--verbose --no-verbose").options.verbose);
    assert_false(parse("--verbose=off").options.verbose);
    assert_true(parse("--no-verbose").options.progress);
    assert_false(parse("--no-progress").options.progress);
    assert_int_equal(parse("--batch-rows 1 --batch-rows 4096").options.rows, 4096); /* the last */
}

static void test_wrong_flags_are_named(void **state) {
    (void)state;
    static const struct {
        const char *line, *field, *words;
    } cases[] = {
        {"--batch-rows 0", "batch-rows", "1 to 4096"}, {"--batch-rows 4097", "batch-rows", "4097"},
        {"--batch-rows 7x", "batch-rows", "whole number"}, {"--batch-rows=", "batch-rows", "whole"},
        {"--batch-rows 99999999999999999999", "batch-rows", "4096"},
        {"--batch-rows 1.5", "batch-rows", "whole"}, {"--seed -1", "seed", "-1"},
        {"--seed 18446744073709551616", "seed", "whole number"}, {"--rate 1.01", "rate", "0 to 1"},
        {"--steps 9007199254740992", "steps", "1 to 9007199254740991"},
        {"--rate nan", "rate", "number"}, {"--rate inf", "rate", "number"},
        {"--verbose=maybe", "verbose", "on or off"}, {"--model", "model", "needs a value"},
        {"--model=", "model", "--model needs a value, NAME, not"},
        {"--no-model", "no-model", "unknown"}, {"--batch", "batch", "unknown option --batch;"},
        {"--batch=3", "batch=3", "unknown option --batch;"}, {"a b c", "", "\"c\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct parsed p = parse(cases[i].line);
        if (p.status != STATUS_INVALID || strcmp(p.err.field, cases[i].field) != 0 ||
            !strstr(p.err.message, cases[i].words))
            fail_msg("%s: status %d, \"%s\", \"%s\"", cases[i].line, p.status, p.err.field,
                     p.err.message);
    }
}

static void test_a_value_of_no_use_names_its_flag(void **state) {
    (void)state;
    struct error err = {0};
    assert_int_equal(flags_used("model", STATUS_OK, &err), STATUS_OK);
    enum status status = flags_used("model", error_set(&err, STATUS_IO, "cannot open x"), &err);
    assert_int_equal(status, STATUS_IO);
    assert_int_equal(err.status, STATUS_IO);
    assert_string_equal(err.field, "model");
    assert_string_equal(err.message, "--model: cannot open x");
    flags_used("note", status, &err); /* it is known already whose fault it is */
    assert_string_equal(err.message, "--model: cannot open x");
    flags_used("note", error_set(&err, STATUS_NO_MEMORY, "no memory"), &err);
    assert_string_equal(err.message, "no memory");
    assert_int_equal(flags_used("note", STATUS_IO, NULL), STATUS_IO);
}

/* Takes items off a list until it ends, or one is refused; joins them with bars. */
static enum status take_items(const char *list, char *joined, size_t size, struct error *err) {
    char item[5];
    *joined = '\0';
    while (list) {
        enum status status = flags_next_item(&list, "names", item, sizeof item, err);
        if (status != STATUS_OK)
            return status;
        snprintf(joined + strlen(joined), size - strlen(joined), "%s|", item);
    }
    return STATUS_OK;
}

static void test_items_of_a_list_have_commas_between(void **state) {
    (void)state;
    static const char *const lists[][2] = {
        {"a", "a|"}, {"a,bcde", "a|bcde|"}, {" a b , c,  d ", "a b|c|d|"}};
    static const char *const wrong[] = {"", " ", ",", ",,", "a,", ",a", "a,,b", "a, ,b", "a,bcdef"};
    char items[32];
    struct error err;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        assert_int_equal(take_items(lists[i][0], items, sizeof items, &err), STATUS_OK);
        assert_string_equal(items, lists[i][1]);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(take_items(wrong[i], items, sizeof items, &err), STATUS_INVALID);
        assert_string_equal(err.field, "names");
        assert_non_null(strstr(err.message, "--names is a list with commas between its items"));
        assert_non_null(strstr(err.message, "1 to 4 bytes"));
    }
}

static void test_flags_behind_a_wrong_one_are_read_too(void **state) {
    (void)state;
    setenv("ALPACA_TEST_RATE", "2", 1);
    struct parsed p = parse("--batch 1 a b c --verbose --seed x --batch-rows 7");
    assert_string_equal(p.err.field, "rate"); /* the first mistake is reported */
    assert_int_equal(p.options.rows, 7);
    assert_true(p.options.verbose);
    unsetenv("ALPACA_TEST_RATE");
    assert_string_equal(parse("--batch 1 a b c --seed x").err.field, "batch");
}

static void test_flags_from_the_environment(void **state) {
    (void)state;
    setenv("ALPACA_TEST_BATCH_ROWS", "12", 1);
    setenv("ALPACA_TEST_MODEL", "", 1); /* empty is as good as not set */
    assert_int_equal(parse("").options.rows, 12);
    assert_string_equal(parse("").options.model, "mini");
    assert_int_equal(parse("--batch-rows 13").options.rows, 13); /* the command line wins */
    setenv("ALPACA_TEST_BATCH_ROWS", "twelve", 1);
    struct parsed p = parse("");
    setenv("ALPACA_TEST_BATCH_ROWS", "12", 1);
    setenv("ALPACA_TEST_PROGRESS", "off", 1);
    assert_false(parse("").options.progress);
    unsetenv("ALPACA_TEST_BATCH_ROWS");
    unsetenv("ALPACA_TEST_MODEL");
    unsetenv("ALPACA_TEST_PROGRESS");
    assert_int_equal(p.status, STATUS_INVALID);
    assert_string_equal(p.err.field, "batch-rows");
}

static void test_an_address_in_a_variable_is_no_number(void **state) {
    (void)state;
    setenv("ALPACA_TEST_BATCH_ROWS", "tcp://10.96.0.7:8080", 1);
    setenv("ALPACA_TEST_MODEL", "tcp://10.96.0.7:8080", 1); /* a text may be one */
    struct parsed p = parse("");
    assert_int_equal(p.status, STATUS_OK);
    assert_int_equal(p.options.rows, 64);
    assert_string_equal(p.options.model, "tcp://10.96.0.7:8080");
    assert_int_equal(parse("--batch-rows 7").options.rows, 7);
    setenv("ALPACA_TEST_BATCH_ROWS", "tcp:10.96.0.7", 1);
    assert_int_equal(parse("").status, STATUS_INVALID);
    unsetenv("ALPACA_TEST_BATCH_ROWS");
    unsetenv("ALPACA_TEST_MODEL");
}

static void test_flags_document_themselves(void **state) {
    (void)state;
    void (*const printers[])(const struct flag_table *, FILE *) = {flags_print_help,
                                                                   flags_print_markdown};
    for (int i = 0; i < 2; i++) {
        char *text = NULL;
        size_t size;
        FILE *stream = open_memstream(&text, &size);
        printers[i](&table, stream);
        fclose(stream);
        for (size_t f = 0; f < table.count; f++) {
            assert_non_null(strstr(text, flags[f].name));
            assert_non_null(strstr(text, flags[f].help));
        }
        assert_non_null(strstr(text, "1 to 4096"));
        assert_non_null(strstr(text, i ? "`--no-progress`" : "--[no-]progress"));
        assert_null(strstr(text, i ? "`--no-verbose`" : "--[no-]verbose"));
        assert_non_null(
            strstr(text, i ? "`ALPACA_TEST_BATCH_ROWS`" : "--model as ALPACA_TEST_MODEL"));
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags_defaults),
        cmocka_unit_test(test_flags_are_read),
        cmocka_unit_test(test_wrong_flags_are_named),
        cmocka_unit_test(test_a_value_of_no_use_names_its_flag),
        cmocka_unit_test(test_items_of_a_list_have_commas_between),
        cmocka_unit_test(test_flags_behind_a_wrong_one_are_read_too),
        cmocka_unit_test(test_flags_from_the_environment),
        cmocka_unit_test(test_an_address_in_a_variable_is_no_number),
        cmocka_unit_test(test_flags_document_themselves),
    };
    return cmocka_run_group_tests_name("flags", tests, NULL, NULL);
}
