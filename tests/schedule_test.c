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

static void the_trapezoid_is_flat_and_then_straight(void **state) {
    (void)state;
    struct schedule s = {
        .shape = SCHEDULE_TRAPEZOID, .steps = 1000, .warmup = 0.1, .cooldown = 0.4};
    close_to(schedule_factor(&s, 49), 0.5);
    for (uint64_t i = 100; i <= 600; i += 50)
        close_to(schedule_factor(&s, i), 1);
    close_to(schedule_factor(&s, 700), 0.75);
    close_to(schedule_factor(&s, 999), 0.0025);
    s.cooldown = 0; /* never goes down */
    close_to(schedule_factor(&s, 999), 1);
    s.cooldown = 1; /* begins to when the warm-up is over */
    close_to(schedule_factor(&s, 100 + 450), 0.5);
}

static void every_step_of_every_run_has_a_rate(void **state) {
    (void)state;
    const double warmups[] = {0, 0.1, 0.999, 1, 5, 400};
    for (int shape = 0; shape < 3; shape++)
        for (uint64_t steps = 1; steps < 40; steps++)
            for (int w = 0; w < 6; w++) {
                struct schedule s = {.shape = (enum schedule_shape)shape, .steps = steps,
                                     .warmup = warmups[w], .cooldown = (double)(steps % 3) / 2};
                for (uint64_t i = 0; i < steps; i++) {
                    double factor = schedule_factor(&s, i);
                    assert_true(factor > 0 && factor <= 1);
                }
            }
}

static void a_value_goes_from_its_first_to_its_last(void **state) {
    (void)state;
    struct schedule s = {.steps = 101}, one = {.steps = 1};
    close_to(schedule_between(&s, 0, 0.1, 0.5), 0.1);
    close_to(schedule_between(&s, 25, 0.1, 0.5), 0.2);
    close_to(schedule_between(&s, 100, 0.1, 0.5), 0.5);
    close_to(schedule_between(&one, 0, 0.1, 0.5), 0.1);
}

static void names_of_shapes(void **state) {
    (void)state;
    enum schedule_shape shape = SCHEDULE_LINEAR;
    assert_true(schedule_shape_parse("cosine", &shape) && shape == SCHEDULE_COSINE);
    assert_true(schedule_shape_parse("linear", &shape) && shape == SCHEDULE_LINEAR);
    assert_true(schedule_shape_parse("trapezoid", &shape) && shape == SCHEDULE_TRAPEZOID);
    assert_false(schedule_shape_parse("square", &shape));
}

/* ---- averages ------------------------------------------------------------- */

/* The share of each step's value in the average after `steps` steps. */
static void weights_of(const struct average_plan *plan, uint64_t steps, double *weights) {
    for (uint64_t i = 0; i < steps; i++) {
        double share = average_share(plan, i);
        for (uint64_t j = 0; j < i; j++)
            weights[j] *= 1 - share;
        weights[i] = share;
    }
}

static void a_mean_counts_every_step_alike(void **state) {
    (void)state;
    struct average_plan plan = {.kind = AVERAGE_MEAN, .first = 7};
    double weights[27];
    weights_of(&plan, 27, weights);
    for (int i = 0; i < 27; i++)
        close_to(weights[i], i < 7 ? 0 : 1.0 / 20);
}

static void an_ema_forgets_by_its_decay(void **state) {
    (void)state;
    struct average_plan plan = {.kind = AVERAGE_EMA, .first = 3, .decay = 0.9};
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

static void no_average_has_no_share(void **state) {
    (void)state;
    struct average_plan plan = {.kind = AVERAGE_NONE};
    enum average_kind kind = AVERAGE_MEAN;
    assert_true(average_share(&plan, 5) == 0);
    assert_true(average_kind_parse("none", &kind) && kind == AVERAGE_NONE);
    assert_true(average_kind_parse("ema", &kind) && kind == AVERAGE_EMA);
    assert_true(average_kind_parse("mean", &kind) && kind == AVERAGE_MEAN);
    assert_false(average_kind_parse("median", &kind));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_warm_up_is_linear_and_takes_no_step_at_zero),
        cmocka_unit_test(a_warm_up_below_one_is_a_share_of_all_steps),
        cmocka_unit_test(the_cosine_goes_from_one_to_the_end),
        cmocka_unit_test(the_line_is_straight),
        cmocka_unit_test(the_trapezoid_is_flat_and_then_straight),
        cmocka_unit_test(every_step_of_every_run_has_a_rate),
        cmocka_unit_test(a_value_goes_from_its_first_to_its_last),
        cmocka_unit_test(names_of_shapes),
        cmocka_unit_test(a_mean_counts_every_step_alike),
        cmocka_unit_test(an_ema_forgets_by_its_decay),
        cmocka_unit_test(no_average_has_no_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
