/* Learning rates and averages over a run. */
#include "train/optim/schedule.h"
#include "train/optim/weight_average.h"

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

static void the_line_is_straight(void **state) {
    (void)state;
    struct schedule s = {.shape = SCHEDULE_LINEAR, .steps = 1010, .warmup = 10, .final = 0.2};
    close_to(schedule_factor(&s, 10), 1);
    close_to(schedule_factor(&s, 10 + 250), 0.8);
    close_to(schedule_factor(&s, 10 + 500), 0.6);
    close_to(schedule_factor(&s, 10 + 999), 0.2 + 0.8 * 0.001);
}

static void a_rate_that_ends_at_its_peak_never_falls(void **state) {
    (void)state;
    struct schedule s = {.shape = SCHEDULE_LINEAR, .steps = 1000, .warmup = 100, .final = 1};
    assert_true(schedule_factor(&s, 49) == 0.5);
    for (uint64_t i = 100; i < 1000; i++)
        assert_true(schedule_factor(&s, i) == 1);
}

static void every_step_of_every_run_has_a_rate(void **state) {
    (void)state;
    const double warmups[] = {0, 0.1, 0.999, 1, 5, 400};
    for (int shape = 0; shape < 2; shape++)
        for (uint64_t steps = 1; steps < 40; steps++)
            for (int w = 0; w < 6; w++) {
                struct schedule s = {.shape = (enum schedule_shape)shape, .steps = steps,
                                     .warmup = warmups[w]};
                for (uint64_t i = 0; i < steps; i++) {
                    double factor = schedule_factor(&s, i);
                    assert_true(factor > 0 && factor <= 1);
                }
            }
}

static void a_shape_is_known_by_its_name(void **state) {
    (void)state;
    enum schedule_shape shape = SCHEDULE_LINEAR;
    assert_true(schedule_shape_parse("cosine", &shape) && shape == SCHEDULE_COSINE);
    assert_true(schedule_shape_parse("linear", &shape) && shape == SCHEDULE_LINEAR);
    assert_false(schedule_shape_parse("square", &shape));
}

/* ---- averages ------------------------------------------------------------- */

/* The share of each step's value in the average after `steps` steps. */
static void weights_of(const struct weight_average *plan, uint64_t steps, double *weights) {
    for (uint64_t i = 0; i < steps; i++) {
        double share = weight_average_share(plan, i);
        for (uint64_t j = 0; j < i; j++)
            weights[j] *= 1 - share;
        weights[i] = share;
    }
}

static void a_young_average_counts_every_step_alike(void **state) {
    (void)state;
    struct weight_average plan = {.first = 7, .decay = 0.95};
    double weights[27];
    weights_of(&plan, 27, weights);
    for (int i = 0; i < 27; i++)
        close_to(weights[i], i < 7 ? 0 : 1.0 / 20);
}

static void an_average_forgets_by_its_decay(void **state) {
    (void)state;
    struct weight_average plan = {.first = 3, .decay = 0.9};
    double weights[60], sum = 0;
    weights_of(&plan, 60, weights);
    for (int i = 0; i < 60; i++) {
        sum += weights[i];
        assert_true(i < 3 ? weights[i] == 0 : weights[i] > 0);
        if (i > 14) /* from then on it is not a mean any more */
            close_to(weights[i - 1], weights[i] * 0.9);
    }
    close_to(sum, 1);
    close_to(weights[59], 0.1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_warm_up_is_linear_and_takes_no_step_at_zero),
        cmocka_unit_test(a_warm_up_below_one_is_a_share_of_all_steps),
        cmocka_unit_test(the_cosine_goes_from_one_to_the_end),
        cmocka_unit_test(the_line_is_straight),
        cmocka_unit_test(a_rate_that_ends_at_its_peak_never_falls),
        cmocka_unit_test(every_step_of_every_run_has_a_rate),
        cmocka_unit_test(a_shape_is_known_by_its_name),
        cmocka_unit_test(a_young_average_counts_every_step_alike),
        cmocka_unit_test(an_average_forgets_by_its_decay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
