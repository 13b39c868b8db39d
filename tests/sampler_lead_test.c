/* How sure a draw is: the lead of the token that was taken over the runner-up. */
#include "model/sampler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Raising the runner-up's logit by less than the lead leaves the draw, and by more changes it. */
static void test_the_lead_is_what_the_runner_up_lacks(void **state) {
    (void)state;
    enum { VOCAB = 6 };
    static const float logits[VOCAB] = {0.3f, -1, 2.1f, 1.2f, -0.4f, 0.9f};
    static const float temperatures[] = {0, 0.7f, 1.5f};
    struct sampler *sampler, *other_sampler;
    assert_int_equal(sampler_create(&sampler, VOCAB, NULL, 0, NULL), STATUS_OK);
    assert_int_equal(sampler_create(&other_sampler, VOCAB, NULL, 0, NULL), STATUS_OK);
    sampler_measure_lead(sampler);
    for (uint64_t trial = 0; trial < 60; trial++) {
        struct sampling s = sampling_defaults();
        s.temperature = temperatures[trial % 3];
        s.seed = trial;
        float copy[VOCAB];
        memcpy(copy, logits, sizeof copy);
        int32_t drawn = sampler_next(sampler, &s, copy, NULL, 0, 0);
        float lead = sampler_lead(sampler);
        assert_true(lead > 0);
        int overtakes_above = 0, overtakes_below = 0;
        for (int32_t other = 0; other < VOCAB; other++) {
            for (int above = 0; above < 2 && other != drawn; above++) {
                memcpy(copy, logits, sizeof copy);
                copy[other] += lead + (above ? 0.001f : -0.001f);
                bool overtakes = sampler_next(other_sampler, &s, copy, NULL, 0, 0) != drawn;
                overtakes_above += above && overtakes;
                overtakes_below += !above && overtakes;
            }
        }
        assert_int_equal(overtakes_below, 0);
        assert_int_equal(overtakes_above, 1); /* the runner-up alone */
    }
    sampler_destroy(sampler);
    sampler_destroy(other_sampler);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_lead_is_what_the_runner_up_lacks),
    };
    return cmocka_run_group_tests_name("sampler_lead", tests, NULL, NULL);
}
