/* Learning rates over a run. */
#include "train/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void close_to(double value, double expected) {
    if (!(fabs(value - expected) < 1e-12))
        fail_msg("%.15g, expected %.15g", value, expected);
}

static void the_warm_up_is_linear_and_takes_no_step_at_zero(void **state) {
    (void)state;
    struct schedule s = {.steps = 1000, .warmup = 10};
    for (uint64_t i = 0; i < 10; i++)
        close_to(schedule_factor(&s, i), ((double)i + 1) / 10);
    close_to(schedule_factor(&s, 10), 1);
    assert_true(schedule_factor(&s, 11) < 1);
}

static void a_warm_up_below_one_is_a_share_of_all_steps(void **state) {
    (void)state;
    struct schedule share = {.steps = 1000, .warmup = 0.1}, steps = {.steps = 1000, .warmup = 100};
    for (uint64_t i = 0; i < 1000; i += 7)
        close_to(schedule_factor(&share, i), schedule_factor(&steps, i));
}

static void the_cosine_goes_from_one_to_the_end(void **state) {
    (void)state;
    struct schedule s = {.steps = 1010, .warmup = 10};
    close_to(schedule_factor(&s, 10 + 500), 0.5);
    close_to(schedule_factor(&s, 10 + 250), 0.5 * (1 + cos(3.14159265358979323846 / 4)));
    double last = schedule_factor(&s, 1009);
    assert_true(last > 0 && last < 1e-5);
    s.final = 0.1;
    close_to(schedule_factor(&s, 10 + 500), 0.55);
    assert_true(schedule_factor(&s, 1009) > 0.1 && schedule_factor(&s, 1009) < 0.1001);
}

static void every_step_of_every_run_has_a_rate(void **state) {
    (void)state;
    const double warmups[] = {0, 0.1, 0.999, 1, 5, 400};
    for (uint64_t steps = 1; steps < 40; steps++)
        for (int w = 0; w < 6; w++) {
            struct schedule s = {.steps = steps, .warmup = warmups[w]};
            for (uint64_t i = 0; i < steps; i++) {
                double factor = schedule_factor(&s, i);
                assert_true(factor > 0 && factor <= 1);
            }
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_warm_up_is_linear_and_takes_no_step_at_zero),
        cmocka_unit_test(a_warm_up_below_one_is_a_share_of_all_steps),
        cmocka_unit_test(the_cosine_goes_from_one_to_the_end),
        cmocka_unit_test(every_step_of_every_run_has_a_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
