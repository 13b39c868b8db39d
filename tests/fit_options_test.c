/* What `alpaca-train fit` makes of flags that were not given. */
#include "train/fit_options.h"

#include "base/cpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* The micro-batch's rows for --threads and --micro-tokens. */
static int micro_rows(const char *threads, const char *micro_tokens) {
    char first[40], second[40], *arguments[] = {first, second, NULL};
    snprintf(first, sizeof first, "--threads=%s", threads);
    snprintf(second, sizeof second, "--micro-tokens=%s", micro_tokens);
    int count = 2;
    bool help = false;
    struct fit_options options = {0};
    struct fit_plan plan;
    struct error err = {0};
    if (flags_parse(&fit_flags, &options, &count, arguments, &help, &err) != STATUS_OK ||
        fit_options_complete(&options, &plan, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    assert_int_equal(options.micro_tokens, plan.trainer.micro_rows);
    return plan.trainer.micro_rows;
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
        cmocka_unit_test(many_threads_get_larger_micro_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
