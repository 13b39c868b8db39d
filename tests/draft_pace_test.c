/* Which proposals pay, on machines of which the times are made up. */
#include "base/rng.h"
#include "engine/draft_pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A step of the model takes the longer of reading its weights and of computing its rows. */
struct machine {
    double weights_us, row_us;    /* of the model */
    double round_us, draft_row_us;
    double chance; /* of each proposal */
};

static const struct machine waits_for_memory = {500, 10, 60, 5, 0.9};
static const struct machine computes_all_along = {0, 60, 10, 8, 0.9};
static const struct machine in_between = {500, 55, 80, 8, 0.9};

static double longer(double a, double b) {
    return a > b ? a : b;
}

/* Runs `steps` steps and returns the tokens a us of the last half of them. Proposals are as sure as
 * `lead` says, and right as often as the machine's chance; every one of a sequence is made that
 * the plan asks for. */
static double run(struct draft_pace *pace, const struct machine *m, int sequences, float lead,
                  int steps) {
    double tokens = 0, us = 0;
    int index = draft_pace_lead(lead);
    for (int step = 0; step < steps; step++) {
        struct pace_plan plan = draft_pace_plan(pace, sequences);
        double expected = 1, chance = 1, draft_us = 0;
        int rounds = 0, checked = 0;
        while (plan.proposes && rounds < 16 &&
               (rounds == 0 || sequences * draft_pace_gain(pace, chance, plan.price.check) >=
                                   plan.price.round)) {
            chance *= draft_pace_chance(pace, index);
            expected += chance;
            rounds++;
            checked += sequences;
            draft_us += m->round_us + m->draft_row_us * sequences;
        }
        double generated = sequences * expected;
        double model_us = longer(m->weights_us, m->row_us * (sequences + checked));
        for (int i = 0; i < rounds; i++)
            draft_pace_judge(pace, index, rng_uniform((uint64_t)step, (uint64_t)i) < m->chance);
        draft_pace_learn(pace, &(struct pace_step){.sequences = sequences,
                                                   .rounds = rounds,
                                                   .checked = checked,
                                                   .tokens = (int)(generated + 0.5),
                                                   .draft_ns = (uint64_t)(draft_us * 1e3),
                                                   .model_ns = (uint64_t)(model_us * 1e3)});
        if (step >= steps / 2) {
            tokens += generated;
            us += model_us + draft_us;
        }
    }
    return tokens / us;
}

static double without(const struct machine *m, int sequences) {
    return sequences / longer(m->weights_us, m->row_us * sequences);
}

static void proposals_are_made_where_the_model_waits_for_memory(void **state) {
    (void)state;
    static const int sequences[] = {1, 2, 4, 8};
    for (size_t i = 0; i < sizeof sequences / sizeof *sequences; i++) {
        struct draft_pace pace;
        draft_pace_open(&pace);
        double rate = run(&pace, &waits_for_memory, sequences[i], 2.5f, 2000);
        assert_true(rate > 1.5 * without(&waits_for_memory, sequences[i]));
    }
}

static void none_are_made_where_every_row_costs_as_much(void **state) {
    (void)state;
    static const int sequences[] = {1, 4, 8, 16, 32, 64, 300};
    for (size_t i = 0; i < sizeof sequences / sizeof *sequences; i++) {
        struct draft_pace pace;
        draft_pace_open(&pace);
        double rate = run(&pace, &computes_all_along, sequences[i], 2.5f, 6000);
        assert_true(rate > 0.99 * without(&computes_all_along, sequences[i]));
        assert_true(rate < 1.01 * without(&computes_all_along, sequences[i]));
    }
}

/* The more often proposals lose, the longer none are tried. */
static void what_does_not_pay_is_tried_less_and_less(void **state) {
    (void)state;
    struct draft_pace pace;
    draft_pace_open(&pace);
    int tried[4] = {0};
    for (int step = 0; step < 8000; step++) {
        tried[step / 2000] += draft_pace_plan(&pace, 8).proposes;
        run(&pace, &computes_all_along, 8, 2.5f, 1);
    }
    assert_true(tried[0] > 2 * tried[3]);
    assert_true(tried[1] + tried[2] + tried[3] > 0);
}

/* One load says nothing of another. */
static void each_load_is_judged_alone(void **state) {
    (void)state;
    struct draft_pace pace;
    draft_pace_open(&pace);
    run(&pace, &computes_all_along, 8, 2.5f, 2000);
    run(&pace, &waits_for_memory, 1, 2.5f, 2000);
    int dear = 0, cheap = 0;
    for (int step = 0; step < 1000; step++) {
        dear += draft_pace_plan(&pace, 8).proposes;
        run(&pace, &computes_all_along, 8, 2.5f, 1);
        cheap += draft_pace_plan(&pace, 1).proposes;
        run(&pace, &waits_for_memory, 1, 2.5f, 1);
    }
    assert_true(dear < 20);
    assert_true(cheap > 900);
}

/* What the draft reads when it begins is not counted, unless it begins again and again. */
static void a_draft_that_catches_up_again_and_again_loses(void **state) {
    (void)state;
    for (int often = 0; often < 2; often++) {
        struct draft_pace pace;
        draft_pace_open(&pace);
        int proposing = 0;
        for (int step = 0; step < 4000; step++) {
            proposing += draft_pace_plan(&pace, 1).proposes;
            if (draft_pace_plan(&pace, 1).proposes && step % (often ? 4 : 400) == 0)
                draft_pace_learn(&pace, &(struct pace_step){.sequences = 1,
                                                            .rounds = 3,
                                                            .checked = 3,
                                                            .catches_up = true,
                                                            .tokens = 3,
                                                            .draft_ns = 100000000,
                                                            .model_ns = 500000});
            run(&pace, &waits_for_memory, 1, 2.5f, 1);
        }
        assert_true(often ? proposing < 1500 : proposing > 3000);
    }
}

/* Right behind proposals a step is slower, as the caches hold the draft's weights: that is not what
 * proposals have to win over. */
static void the_first_steps_without_proposals_are_not_measured(void **state) {
    (void)state;
    struct draft_pace pace;
    draft_pace_open(&pace);
    int proposing = 0, plain = 100;
    for (int step = 0; step < 4000; step++) {
        bool proposes = draft_pace_plan(&pace, 4).proposes;
        struct pace_step done = {.sequences = 4, .tokens = 4, .model_ns = 400000};
        if (proposes)
            done = (struct pace_step){.sequences = 4,
                                      .rounds = 1,
                                      .checked = 4,
                                      .tokens = 7,
                                      .draft_ns = 100000,
                                      .model_ns = 700000};
        plain = proposes ? 0 : plain + 1;
        done.model_ns += !proposes && plain <= 8 ? 200000 : 0;
        draft_pace_learn(&pace, &done);
        proposing += proposes;
    }
    assert_true(proposing < 200);
}

/* The first steps with proposals, when the draft's weights come from memory, decide nothing. */
static void a_cold_draft_gets_its_chance(void **state) {
    (void)state;
    struct machine cold = waits_for_memory;
    struct draft_pace pace;
    int proposing = 0;
    cold.round_us = 5000;
    draft_pace_open(&pace);
    while (!draft_pace_plan(&pace, 1).proposes)
        run(&pace, &cold, 1, 2.5f, 1);
    run(&pace, &cold, 1, 2.5f, 8);
    for (int step = 0; step < 200; step++) {
        run(&pace, &waits_for_memory, 1, 2.5f, 1);
        proposing += draft_pace_plan(&pace, 1).proposes;
    }
    assert_true(proposing > 100);
}

/* Whatever the load, it is hardly slower than without; and faster where that can be. */
static void the_load_decides_in_between(void **state) {
    (void)state;
    for (int sequences = 1; sequences <= 64; sequences++) {
        struct draft_pace pace;
        draft_pace_open(&pace);
        double rate = run(&pace, &in_between, sequences, 2.5f, 4000);
        assert_true(rate > 0.99 * without(&in_between, sequences));
        assert_true(sequences > 2 || rate > 1.5 * without(&in_between, sequences));
    }
}

/* A machine whose neighbors leave: what did not pay is tried again. */
static void a_change_of_the_machine_is_noticed(void **state) {
    (void)state;
    struct draft_pace pace;
    draft_pace_open(&pace);
    run(&pace, &computes_all_along, 4, 2.5f, 3000);
    double rate = run(&pace, &waits_for_memory, 4, 2.5f, 40000);
    assert_true(rate > 1.4 * without(&waits_for_memory, 4));
    rate = run(&pace, &computes_all_along, 4, 2.5f, 6000);
    assert_true(rate > 0.98 * without(&computes_all_along, 4));
}

/* What steps with proposals win is not measured by steps of a time when the machine was faster. */
static void a_slower_machine_keeps_its_proposals(void **state) {
    (void)state;
    const struct machine *m = &waits_for_memory;
    const struct machine slower = {3 * m->weights_us, 3 * m->row_us, 3 * m->round_us,
                                   3 * m->draft_row_us, m->chance};
    struct draft_pace pace;
    draft_pace_open(&pace);
    run(&pace, m, 1, 2.5f, 2000);
    double rate = run(&pace, &slower, 1, 2.5f, 400);
    assert_true(rate > 1.5 * without(&slower, 1));
}

/* A draft that is never right is soon not asked any more. */
static void a_useless_draft_costs_little(void **state) {
    (void)state;
    struct machine m = waits_for_memory;
    struct draft_pace pace;
    m.chance = 0;
    draft_pace_open(&pace);
    run(&pace, &m, 1, 2.5f, 4000);
    assert_true(draft_pace_chance(&pace, draft_pace_lead(2.5f)) < 0.3);
}

static void chances_follow_what_was_right(void **state) {
    (void)state;
    struct draft_pace pace;
    draft_pace_open(&pace);
    for (int lead = 1; lead < PACE_LEADS; lead++)
        assert_true(draft_pace_chance(&pace, lead) > draft_pace_chance(&pace, lead - 1));
    for (int i = 0; i < 20000; i++) {
        draft_pace_judge(&pace, 2, i % 4 == 0);
        draft_pace_judge(&pace, 7, i % 10 != 0);
    }
    assert_true(draft_pace_chance(&pace, 2) > 0.24 && draft_pace_chance(&pace, 2) < 0.26);
    assert_true(draft_pace_chance(&pace, 7) > 0.89 && draft_pace_chance(&pace, 7) < 0.91);
    assert_int_equal(draft_pace_lead(-1), 0);
    assert_int_equal(draft_pace_lead(100), PACE_LEADS - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proposals_are_made_where_the_model_waits_for_memory),
        cmocka_unit_test(none_are_made_where_every_row_costs_as_much),
        cmocka_unit_test(what_does_not_pay_is_tried_less_and_less),
        cmocka_unit_test(each_load_is_judged_alone),
        cmocka_unit_test(a_draft_that_catches_up_again_and_again_loses),
        cmocka_unit_test(the_first_steps_without_proposals_are_not_measured),
        cmocka_unit_test(a_cold_draft_gets_its_chance),
        cmocka_unit_test(the_load_decides_in_between),
        cmocka_unit_test(a_change_of_the_machine_is_noticed),
        cmocka_unit_test(a_slower_machine_keeps_its_proposals),
        cmocka_unit_test(a_useless_draft_costs_little),
        cmocka_unit_test(chances_follow_what_was_right),
    };
    return cmocka_run_group_tests_name("draft_pace", tests, NULL, NULL);
}
