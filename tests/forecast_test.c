/* How long a run will take, from what its parts took. */
#include "train/forecast.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void close_to(double value, double expected) {
    if (!(fabs(value - expected) < 1e-9))
        fail_msg("%.15g, expected %.15g", value, expected);
}

static void nothing_measured_is_no_time(void **state) {
    (void)state;
    struct forecast f = {.steps = 100, .valid_every = 10, .average_after = UINT64_MAX};
    close_to(forecast_seconds(&f, 0), 0);
}

static void the_first_step_counts_until_there_is_another(void **state) {
    (void)state;
    struct forecast f = {.steps = 100, .valid_every = 10, .average_after = UINT64_MAX};
    f.step.guess = 5;
    close_to(forecast_seconds(&f, 0), 100 * 5);
    forecast_step(&f, 9);
    close_to(forecast_seconds(&f, 1), 99 * 9);
    forecast_step(&f, 2);
    close_to(forecast_seconds(&f, 2), 98 * 2);
    forecast_step(&f, 4);
    close_to(forecast_seconds(&f, 3), 97 * 3);
    close_to(forecast_seconds(&f, 100), 0);
}

/* As fit does it, a step at a time. */
static uint64_t count_evaluations(const struct forecast *f, uint64_t done) {
    uint64_t count = 0;
    for (uint64_t step = done + 1; step <= f->steps; step++)
        if (step == f->steps || step % f->valid_every == 0)
            count += step > f->average_after ? 2 : 1;
    return count;
}

static void evaluations_are_those_that_fit_makes(void **state) {
    (void)state;
    for (uint64_t steps = 1; steps < 25; steps++)
        for (uint64_t every = 1; every < 27; every += 2)
            for (uint64_t after = 0; after < 30; after += 3)
                for (uint64_t done = 0; done <= steps; done++) {
                    struct forecast f = {.steps = steps,
                                         .valid_every = every,
                                         .average_after = after < 27 ? after : UINT64_MAX};
                    assert_int_equal(forecast_evaluations(&f, done), count_evaluations(&f, done));
                }
}

static void evaluations_take_their_time(void **state) {
    (void)state;
    struct forecast f = {.steps = 100, .valid_every = 10, .average_after = 50};
    forecast_step(&f, 2);
    f.evaluation.guess = 7;
    close_to(forecast_seconds(&f, 0), 100 * 2 + 15 * 7);
    measured_add(&f.evaluation, 3);
    measured_add(&f.evaluation, 5);
    close_to(forecast_seconds(&f, 0), 100 * 2 + 15 * 4);
}

static void checkpoints_take_their_time(void **state) {
    (void)state;
    struct forecast f = {.steps = 100, .valid_every = 1000, .average_after = UINT64_MAX,
                         .checkpoint_every = 50};
    forecast_step(&f, 9);
    measured_add(&f.checkpoint, 5);
    close_to(forecast_seconds(&f, 0), 900 + 900 / 45 * 5 + 5); /* 45 of every 50 seconds are work */
    close_to(forecast_seconds(&f, 100), 5);
    f.checkpoint_every = 1; /* shorter than a step */
    close_to(forecast_seconds(&f, 0), 900 + 100 * 5 + 5);
    f.checkpoint_every = 0;
    close_to(forecast_seconds(&f, 0), 900 + 100 * 5 + 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_measured_is_no_time),
        cmocka_unit_test(the_first_step_counts_until_there_is_another),
        cmocka_unit_test(evaluations_are_those_that_fit_makes),
        cmocka_unit_test(evaluations_take_their_time),
        cmocka_unit_test(checkpoints_take_their_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
