/* What `alpaca-train fit` makes of flags that were given, and of those that were not. */
#include "train/fit_options.h"

#include "base/cpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_FLAGS = 4 };

/* A command line, NULL behind its last flag, parsed and completed. */
struct command {
    char arguments[MOST_FLAGS][48]; /* texts of the options point here */
    struct fit_options options;
    struct fit_plan plan;
};

static enum status parse(struct command *c, const char *const *flags, struct error *err) {
    char *argv[MOST_FLAGS + 1] = {NULL};
    int argc = 0;
    bool help = false;
    *c = (struct command){0};
    for (; flags[argc]; argc++) {
        assert_true(argc < MOST_FLAGS);
        argv[argc] = c->arguments[argc];
        snprintf(argv[argc], sizeof c->arguments[argc], "%s", flags[argc]);
    }
    enum status status = flags_parse(&fit_flags, &c->options, &argc, argv, &help, err);
    return status == STATUS_OK ? fit_options_complete(&c->options, &c->plan, err) : status;
}

/* The recipe up to what it learns from; valid until the next call. */
static const char *recipe_of(const char *const *flags) {
    static struct command command;
    static char text[600];
    struct error err = {0};
    if (parse(&command, flags, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    const struct fit_inputs inputs = {.teacher = 1, .steps = 2800};
    struct buffer recipe = {0};
    fit_recipe(&command.options, &command.plan, &inputs, &recipe);
    snprintf(text, sizeof text, "%s", recipe.data);
    *strstr(text, " start=") = '\0';
    buffer_free(&recipe);
    return text;
}
#define RECIPE(...) recipe_of((const char *const[]){"--numeric=f32", __VA_ARGS__, NULL})

static void the_default_is_the_recipe_for_little_text(void **state) {
    (void)state;
    assert_string_equal(
        RECIPE("--preset=alpaca"),
        "preset=alpaca numeric=f32 optimizer=muon lr=0.02 adam-lr=0.004 clip=1 weight-decay=0.1 "
        "dropout=0.1 schedule=linear warmup=60 final-lr=0 steps=2800 batch-stories=0 "
        "batch-tokens=9700 seed=1 crop=0.5 average=ema average-decay=0.996 average-from=0.3");
    assert_non_null(strstr(RECIPE("--teacher=x"), " teacher=0000000000000001 teacher-weight=0.8"));
}

static void adam_has_the_presets_rate(void **state) {
    (void)state;
    assert_non_null(strstr(RECIPE("--optimizer=adam"), " lr=0.0005 adam-lr=0.0005 "));
    assert_non_null(strstr(RECIPE("--optimizer=adamw", "--preset=small"), " lr=0.0005 "));
    assert_non_null(strstr(RECIPE("--optimizer=adam", "--preset=alpaca"), " lr=0.0003 "));
    assert_non_null(strstr(RECIPE("--optimizer=adam", "--lr=0.002"), " lr=0.002 adam-lr=0.002 "));
    assert_non_null(strstr(RECIPE("--lr=0.01", "--adam-lr=0.003"), " lr=0.01 adam-lr=0.003 "));
}

static void a_step_is_counted_in_what_was_given(void **state) {
    (void)state;
    assert_non_null(strstr(RECIPE("--batch-stories=512"), " batch-stories=512 batch-tokens=0 "));
    assert_non_null(strstr(RECIPE("--batch-tokens=800"), " batch-stories=0 batch-tokens=800 "));
    assert_non_null(strstr(RECIPE("--batch-tokens=800", "--batch-stories=2"),
                           " batch-stories=2 batch-tokens=800 "));
}

/* The micro-batch's rows for --threads and --micro-tokens. */
static int micro_rows(const char *threads, const char *micro_tokens) {
    char first[40], second[40];
    snprintf(first, sizeof first, "--threads=%s", threads);
    snprintf(second, sizeof second, "--micro-tokens=%s", micro_tokens);
    const char *const flags[] = {first, second, NULL};
    struct command command;
    struct error err = {0};
    if (parse(&command, flags, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    assert_int_equal(command.options.micro_tokens, command.plan.trainer.micro_rows);
    return command.plan.trainer.micro_rows;
}

static void many_threads_get_larger_micro_batches(void **state) {
    (void)state;
    assert_int_equal(micro_rows("1", "0"), 2048);
    assert_int_equal(micro_rows("8", "0"), 2048);
    assert_int_equal(micro_rows("12", "0"), 3072);
    assert_int_equal(micro_rows("64", "0"), 16384);
    assert_int_equal(micro_rows("0", "0"), cpu_count() > 8 ? 256 * cpu_count() : 2048);
    assert_int_equal(micro_rows("64", "1000"), 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_is_the_recipe_for_little_text),
        cmocka_unit_test(adam_has_the_presets_rate),
        cmocka_unit_test(a_step_is_counted_in_what_was_given),
        cmocka_unit_test(many_threads_get_larger_micro_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
