/* The sampler against a slow, obvious one, and on logits that a broken model might give. */
#include "base/rng.h"
#include "model/kernels/kernels.h"
#include "model/sampler.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_VOCAB = 4000 };

#define OF(temperature, top_k, top_p, min_p, repetition, seed)                                     \
    {temperature, top_k, top_p, min_p, repetition, seed, 0, 0, NULL, 0}

static int32_t next(int vocab, const struct sampling *sampling, const float *logits,
                    const int32_t *history, int count, const int32_t *suppressed,
                    int suppressed_count) {
    float copy[MAX_VOCAB];
    struct sampler *sampler;
    assert_int_equal(sampler_create(&sampler, vocab, suppressed, suppressed_count, NULL),
                     STATUS_OK);
    memcpy(copy, logits, (size_t)vocab * sizeof *copy);
    int32_t id = sampler_next(sampler, sampling, copy, history, 0, count);
    sampler_destroy(sampler);
    return id;
}

/* ---- the reference: sort everything, in double -------------------------------------- */

struct choice {
    int32_t id;
    double weight;
};

static int by_weight(const void *left, const void *right) {
    const struct choice *a = left, *b = right;
    if (a->weight != b->weight)
        return a->weight > b->weight ? -1 : 1;
    return a->id - b->id;
}

/* The choices that the filters leave, heaviest first. Sets *margin to how close, relative to
 * the total, some filter came to deciding otherwise. */
static int reference_filter(struct choice *choices, int vocab, const struct sampling *s,
                            const float *logits, const int32_t *history, int count,
                            double *margin) {
    bool seen[MAX_VOCAB] = {false};
    double max = -INFINITY, total = 0;
    for (int i = 0; i < count; i++)
        seen[history[i]] = true;
    for (int i = 0; i < vocab; i++) {
        double x = logits[i], penalty = seen[i] ? (double)s->repetition_penalty : 1;
        choices[i] = (struct choice){i, x < 0 ? x * penalty : x / penalty};
        max = fmax(max, choices[i].weight);
    }
    for (int i = 0; i < vocab; i++)
        choices[i].weight = exp((choices[i].weight - max) / (double)s->temperature);
    qsort(choices, (size_t)vocab, sizeof *choices, by_weight);
    int kept = s->top_k > 0 && s->top_k < vocab ? s->top_k : vocab;
    *margin = 1;
    if (kept < vocab)
        *margin = 1 - choices[kept].weight / choices[kept - 1].weight;
    for (int i = 0; i < kept; i++)
        total += choices[i].weight;
    if (s->top_p < 1) {
        double sum = 0;
        int i = 0;
        while (i < kept) {
            sum += choices[i++].weight;
            *margin = fmin(*margin, fabs(sum / total - (double)s->top_p));
            if (sum >= (double)s->top_p * total)
                break;
        }
        kept = i;
    }
    for (int i = 0; i < kept && s->min_p > 0; i++)
        *margin = fmin(*margin, fabs(choices[i].weight - (double)s->min_p));
    while (kept > 1 && choices[kept - 1].weight < (double)s->min_p)
        kept--;
    return kept;
}

/* Returns -1 when the outcome hangs on rounding. */
static int32_t reference_next(int vocab, const struct sampling *s, const float *logits,
                              const int32_t *history, int count) {
    static struct choice choices[MAX_VOCAB];
    double margin, earliest = INFINITY, next = INFINITY;
    int32_t first = -1;
    uint32_t key = (uint32_t)rng_bits(s->seed, (uint64_t)count);
    int kept = reference_filter(choices, vocab, s, logits, history, count, &margin);
    if (margin < 2e-6)
        return -1;
    for (int i = 0; i < kept; i++) { /* a race (sampler.h): who arrives first is taken */
        uint32_t noise = rng_bits32(key, (uint32_t)choices[i].id);
        double time = -log1p(-((noise >> 1) + 0.5) / 0x1p31) / choices[i].weight;
        if (time < earliest) {
            next = earliest;
            earliest = time;
            first = choices[i].id;
        } else if (time < next) {
            next = time;
        }
    }
    return next < earliest * (1 + 2e-5) ? -1 : first;
}

static void test_agrees_with_the_reference(void **state) {
    (void)state;
    static const int vocabs[] = {1, 2, 7, 63, 64, 65, 1000, 4000};
    static const struct sampling settings[] = {
        OF(0.7f, 0, 1, 0, 1, 0),           OF(1.0f, 40, 1, 0, 1, 0),
        OF(2.0f, 0, 0.9f, 0, 1, 0),        OF(1.0f, 0, 0.3f, 0, 1, 0),
        OF(1.5f, 0, 1, 0.05f, 1, 0),       OF(0.9f, 0, 1, 0, 1.3f, 0),
        OF(1.2f, 50, 0.8f, 0, 1, 0),       OF(1.0f, 100, 0.95f, 0.02f, 1.1f, 0),
        OF(2.0f, 3, 0.99f, 0.3f, 0.8f, 0), OF(0.01f, 0, 0.5f, 0, 1, 0),
        OF(2.0f, 1500, 0.999f, 0, 1, 0),
    };
    float logits[MAX_VOCAB];
    int32_t history[30];
    int compared = 0, skipped = 0;
    for (size_t v = 0; v < sizeof vocabs / sizeof *vocabs; v++) {
        for (size_t k = 0; k < sizeof settings / sizeof *settings; k++) {
            for (uint64_t trial = 0; trial < 20; trial++) {
                uint64_t key = rng_derive(v * 100 + k, trial);
                int count = (int)(trial + 1);
                for (int i = 0; i < vocabs[v]; i++)
                    logits[i] = (float)(rng_normal(key, (uint64_t)i) * 3.0);
                for (int i = 0; i < count; i++)
                    history[i] = (int32_t)(rng_bits(key, 9000 + (uint64_t)i) % (uint64_t)vocabs[v]);
                struct sampling s = settings[k];
                s.seed = key;
                int32_t expected = reference_next(vocabs[v], &s, logits, history, count);
                int32_t got = next(vocabs[v], &s, logits, history, count, NULL, 0);
                if (expected < 0)
                    skipped++;
                else if (++compared && got != expected)
                    fail_msg("vocab %d, settings %zu, trial %d: %d, expected %d", vocabs[v], k,
                             (int)trial, got, expected);
            }
        }
    }
    if (compared < 10 * skipped)
        fail_msg("%d compared, but %d left out", compared, skipped);
}

/* ---- each setting alone --------------------------------------------------------------- */

static const struct sampling greedy = OF(0, 0, 1, 0, 1, 7);
static const struct sampling plain = OF(1, 0, 1, 0, 1, 7);

static void test_greedy_takes_the_most_likely(void **state) {
    (void)state;
    const float logits[] = {-1, 3, 2, 3, -5};
    assert_int_equal(next(5, &greedy, logits, NULL, 0, NULL, 0), 1); /* the lower of a tie */
    const int32_t suppressed[] = {-1, 1};
    assert_int_equal(next(5, &greedy, logits, NULL, 0, suppressed, 2), 3);
    struct sampling filtered = OF(0, 3, 0.5f, 0.1f, 1, 1); /* filters cannot drop the first */
    assert_int_equal(next(5, &filtered, logits, NULL, 0, NULL, 0), 1);
}

static void test_penalty_counts_a_token_once(void **state) {
    (void)state;
    const float logits[] = {4.0f, 2.5f, -1.0f, 0.5f};
    struct sampling s = greedy;
    const int32_t often[] = {0, 0, 0, 0};
    s.repetition_penalty = 1.5f; /* 4 / 1.5 is still above 2.5, 4 / 1.5^2 would not be */
    assert_int_equal(next(4, &s, logits, often, 4, NULL, 0), 0);
    s.repetition_penalty = 2.0f;
    assert_int_equal(next(4, &s, logits, often, 4, NULL, 0), 1);
    const float negative[] = {-1.0f, -1.5f};
    assert_int_equal(next(2, &s, negative, often, 1, NULL, 0), 1); /* -1 becomes -2, not -0.5 */
    s.repetition_penalty = 0.5f;
    const int32_t second[] = {1};
    assert_int_equal(next(4, &s, logits, second, 1, NULL, 0), 1); /* below 1 it favors */
}

/* How often each of `vocab` tokens comes in `draws` draws, as a share. */
static void draw_shares(int vocab, const struct sampling *s, const float *logits, int draws,
                        const int32_t *suppressed, int suppressed_count, double *share) {
    struct sampling seeded = *s;
    memset(share, 0, (size_t)vocab * sizeof *share);
    for (int i = 0; i < draws; i++) {
        seeded.seed = (uint64_t)i;
        int32_t id = next(vocab, &seeded, logits, NULL, 0, suppressed, suppressed_count);
        assert_in_range(id, 0, vocab - 1);
        share[id] += 1.0 / draws;
    }
}

static void test_draws_follow_the_distribution(void **state) {
    (void)state;
    const float logits[] = {logf(0.5f), logf(0.25f), logf(0.15f), logf(0.1f)};
    static const struct {
        struct sampling sampling;
        double expected[4];
    } cases[] = {
        {OF(1, 0, 1, 0, 1, 0), {0.5, 0.25, 0.15, 0.1}},
        {OF(0.5f, 0, 1, 0, 1, 0), {0.25 / 0.345, 0.0625 / 0.345, 0.0225 / 0.345, 0.01 / 0.345}},
        {OF(1, 2, 1, 0, 1, 0), {2.0 / 3, 1.0 / 3, 0, 0}},
        {OF(1, 1, 1, 0, 1, 0), {1, 0, 0, 0}},
        {OF(1, 0, 0.4f, 0, 1, 0), {1, 0, 0, 0}},        /* the first alone reaches it */
        {OF(1, 0, 0.6f, 0, 1, 0), {2.0 / 3, 1.0 / 3, 0, 0}}, /* the one that passes stays in */
        {OF(1, 0, 0, 0, 1, 0), {1, 0, 0, 0}},           /* at least one */
        {OF(1, 0, 1, 0.4f, 1, 0), {2.0 / 3, 1.0 / 3, 0, 0}},
        {OF(1, 0, 1, 1, 1, 0), {1, 0, 0, 0}},
        {OF(1, 3, 0.8f, 0, 1, 0), {2.0 / 3, 1.0 / 3, 0, 0}}, /* top-p of what top-k left */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double share[4];
        draw_shares(4, &cases[i].sampling, logits, 20000, NULL, 0, share);
        for (int id = 0; id < 4; id++) {
            double deviation = fabs(share[id] - cases[i].expected[id]);
            bool exact = cases[i].expected[id] == 0; /* dropped means never */
            if (exact ? share[id] > 0 : deviation > 0.015)
                fail_msg("case %zu, token %d: %g, expected %g", i, id, share[id],
                         cases[i].expected[id]);
        }
    }
}

static void test_suppressed_is_never_drawn(void **state) {
    (void)state;
    const float logits[] = {30, 0, 0.5f, 40, 0.1f};
    const int32_t suppressed[] = {0, -1, 3, 99};
    double share[5];
    draw_shares(5, &plain, logits, 3000, suppressed, 4, share);
    assert_true(share[0] == 0 && share[3] == 0);
    assert_true(share[1] > 0.1 && share[2] > 0.1 && share[4] > 0.1);
}

static void test_ties_go_to_the_lower_id(void **state) {
    (void)state;
    float logits[100];
    double share[100];
    for (int i = 0; i < 100; i++)
        logits[i] = 1.25f;
    struct sampling s = plain;
    s.top_k = 5;
    draw_shares(100, &s, logits, 1000, NULL, 0, share);
    for (int i = 0; i < 100; i++)
        assert_true((share[i] > 0) == (i < 5));
    s.top_k = 0;
    s.top_p = 0.105f; /* 11 of 100 equal ones */
    draw_shares(100, &s, logits, 2000, NULL, 0, share);
    for (int i = 0; i < 100; i++)
        assert_true((share[i] > 0) == (i < 11));
}

static void test_a_draw_depends_on_seed_and_position_only(void **state) {
    (void)state;
    enum { VOCAB = 500, DRAWS = 64 };
    float logits[VOCAB], copy[VOCAB];
    int32_t history[DRAWS] = {0}, first[DRAWS];
    int differing_seed = 0, differing_position = 0;
    struct sampler *sampler;
    assert_int_equal(sampler_create(&sampler, VOCAB, NULL, 0, NULL), STATUS_OK);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = (float)rng_normal(3, (uint64_t)i);
    for (int i = 0; i < DRAWS; i++) {
        memcpy(copy, logits, sizeof copy);
        first[i] = sampler_next(sampler, &plain, copy, history, 0, i);
        differing_position += first[i] != first[0];
    }
    struct sampling other = plain;
    other.seed = 8;
    for (int i = DRAWS - 1; i >= 0; i--) { /* another order, another sampler, other calls between */
        assert_int_equal(next(VOCAB, &plain, logits, history, i, NULL, 0), first[i]);
        memcpy(copy, logits, sizeof copy);
        differing_seed += sampler_next(sampler, &other, copy, history, 0, i) != first[i];
    }
    assert_true(differing_seed > DRAWS / 2 && differing_position > DRAWS / 2);
    sampler_destroy(sampler);
}

/* ---- logits that no sound model gives ---------------------------------------------------- */

static void test_broken_logits_are_survived(void **state) {
    (void)state;
    static const struct sampling settings[] = {
        OF(0, 0, 1, 0, 1, 1), OF(1, 0, 1, 0, 1, 1), OF(1, 5, 0.9f, 0.1f, 1.2f, 1),
        OF(1e-38f, 0, 1, 0, 0.5f, 1), OF(1e-45f, 0, 0.5f, 0, 2, 1), OF(2, 0, 0, 1, 2, 1),
    };
    enum { VOCAB = 100 };
    const int32_t suppressed[] = {0, 1, 3}, history[] = {2, 5, 7, 50};
    float all_nan[VOCAB], all_inf[VOCAB], all_low[VOCAB], mixed[VOCAB], huge[VOCAB];
    for (int i = 0; i < VOCAB; i++) {
        all_nan[i] = NAN;
        all_inf[i] = INFINITY;
        all_low[i] = -INFINITY;
        huge[i] = i % 2 ? FLT_MAX : -FLT_MAX;
        mixed[i] = i == 50 ? 1.0f : i % 3 == 0 ? NAN : -INFINITY;
    }
    for (size_t k = 0; k < sizeof settings / sizeof *settings; k++) {
        const struct sampling *s = &settings[k];
        assert_int_equal(next(VOCAB, s, all_nan, history, 4, suppressed, 3), 2);
        assert_int_equal(next(VOCAB, s, all_low, history, 4, suppressed, 3), 2);
        assert_int_equal(next(VOCAB, s, mixed, history, 4, suppressed, 3), 50);
        int32_t id = next(VOCAB, s, all_inf, history, 4, suppressed, 3);
        assert_true(id == 2 || (id > 3 && id < VOCAB));
        id = next(VOCAB, s, huge, history, 4, suppressed, 3);
        assert_true(id > 3 && id % 2 == 1);
    }
    const int32_t only[] = {0};
    const float one[] = {1};
    assert_int_equal(next(1, &plain, one, NULL, 0, only, 1), 0); /* nothing left: still an id */
}

/* Token 1 was generated twice, and is in the prompt too; token 0 has not occurred. */
static void test_penalties_count_what_was_generated(void **state) {
    (void)state;
    const int32_t history[] = {1, 1, 1, 2, 1, 2, 1}; /* the first three are the prompt's */
    const struct {
        float presence, frequency, repetition;
        float left; /* of a logit of 4 */
    } cases[] = {{0, 0, 1, 4}, {1.5f, 0, 1, 2.5f}, {0, 0.5f, 1, 3}, {2, 2, 1, -2}, {-2, -1, 1, 8},
                 {1, 0.25f, 2, 0.5f}};
    struct sampler *sampler;
    assert_int_equal(sampler_create(&sampler, 3, NULL, 0, NULL), STATUS_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sampling s = greedy;
        s.presence_penalty = cases[i].presence;
        s.frequency_penalty = cases[i].frequency;
        s.repetition_penalty = cases[i].repetition;
        float below[] = {cases[i].left - 0.01f, 4, -50}, above[] = {cases[i].left + 0.01f, 4, -50};
        assert_int_equal(sampler_next(sampler, &s, below, history, 3, 7), 1);
        assert_int_equal(sampler_next(sampler, &s, above, history, 3, 7), 0);
    }
    sampler_destroy(sampler);
}

static void test_biases_decide_which_token_is_likeliest(void **state) {
    (void)state;
    const float logits[] = {1, 5, 3, -INFINITY, 2};
    const int32_t suppressed[] = {4};
    const struct {
        struct logit_bias biases[3];
        int count;
        int32_t expected;
    } cases[] = {
        {{{1, -2.5f}}, 1, 2},            {{{1, -1.5f}}, 1, 1},
        {{{0, 4.5f}}, 1, 0},             {{{1, -100}, {2, -100}}, 2, 0},
        {{{0, 100}}, 1, 0},              {{{0, 100}, {2, 100}, {1, 99}}, 3, 2},
        {{{3, 100}}, 1, 1}, /* an impossible token cannot be forced, ... */
        {{{4, 100}}, 1, 1}, /* ... and a suppressed one neither */
        {{{0, 100}, {4, 100}}, 2, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sampling s = greedy;
        s.biases = cases[i].biases;
        s.bias_count = cases[i].count;
        s.frequency_penalty = 2;
        assert_int_equal(next(5, &s, logits, NULL, 0, suppressed, 1), cases[i].expected);
        s.temperature = 2;
        s.top_k = 1;
        assert_int_equal(next(5, &s, logits, NULL, 0, suppressed, 1), cases[i].expected);
    }
    /* A force outlasts what penalties say of a token that came 60 times. */
    int32_t history[60] = {0};
    struct logit_bias force = {0, 100};
    struct sampling s = plain;
    s.biases = &force;
    s.bias_count = 1;
    s.frequency_penalty = s.presence_penalty = s.repetition_penalty = 2;
    assert_int_equal(next(5, &s, logits, history, 60, NULL, 0), 0);
}

static void test_wrong_biases_are_found(void **state) {
    (void)state;
    static struct logit_bias many[SAMPLING_BIASES_MAX + 1];
    const struct {
        struct logit_bias bias;
        enum status expected;
    } cases[] = {{{0, 100}, STATUS_OK}, {{9, -100}, STATUS_OK}, {{10, 1}, STATUS_INVALID},
                 {{-1, 1}, STATUS_INVALID}, {{1, 100.5f}, STATUS_INVALID},
                 {{1, -101}, STATUS_INVALID}, {{1, NAN}, STATUS_INVALID}};
    struct sampling s = plain;
    struct error err = {0};
    s.bias_count = 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        s.biases = &cases[i].bias;
        assert_int_equal(sampling_check(&s, 10, &err), cases[i].expected);
        assert_string_equal(err.field, cases[i].expected == STATUS_OK ? "" : "logit_bias");
    }
    s.biases = many;
    s.bias_count = SAMPLING_BIASES_MAX;
    assert_int_equal(sampling_check(&s, 10, &err), STATUS_OK);
    s.bias_count++;
    assert_int_equal(sampling_check(&s, 10, &err), STATUS_INVALID);
}

static void test_settings_out_of_range_are_refused_by_name(void **state) {
    (void)state;
    struct sampling s = sampling_defaults();
    assert_int_equal(sampling_check(&s, MAX_VOCAB, NULL), STATUS_OK);
    assert_true(s.temperature == 0.7f && s.top_k == 0 && s.top_p == 1 && s.min_p == 0 &&
                s.repetition_penalty == 1);
    static const struct {
        struct sampling sampling;
        const char *field;
    } cases[] = {
        {OF(-0.1f, 0, 1, 0, 1, 0), "temperature"}, {OF(2.1f, 0, 1, 0, 1, 0), "temperature"},
        {OF(NAN, 0, 1, 0, 1, 0), "temperature"},   {OF(1, -1, 1, 0, 1, 0), "top_k"},
        {OF(1, 4001, 1, 0, 1, 0), "top_k"},        {OF(1, 0, 1.01f, 0, 1, 0), "top_p"},
        {OF(1, 0, -0.5f, 0, 1, 0), "top_p"},       {OF(1, 0, NAN, 0, 1, 0), "top_p"},
        {OF(1, 0, 1, 1.5f, 1, 0), "min_p"},        {OF(1, 0, 1, -1, 1, 0), "min_p"},
        {OF(1, 0, 1, 0, 0.4f, 0), "repetition_penalty"},
        {OF(1, 0, 1, 0, INFINITY, 0), "repetition_penalty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        assert_int_equal(sampling_check(&cases[i].sampling, MAX_VOCAB, &err), STATUS_INVALID);
        assert_string_equal(err.field, cases[i].field);
    }
    const struct sampling edges[] = {OF(0, 0, 0, 0, 0.5f, 0), OF(2, 4000, 1, 1, 2, UINT64_MAX)};
    for (int i = 0; i < 2; i++)
        assert_int_equal(sampling_check(&edges[i], MAX_VOCAB, NULL), STATUS_OK);
    for (int i = 0; i < 4; i++) {
        struct error err = {0};
        struct sampling penalties = plain;
        *(i / 2 ? &penalties.presence_penalty : &penalties.frequency_penalty) = i % 2 ? 2.1f : -3;
        assert_int_equal(sampling_check(&penalties, MAX_VOCAB, &err), STATUS_INVALID);
        assert_string_equal(err.field, i / 2 ? "presence_penalty" : "frequency_penalty");
    }
}

/* ---- log-probabilities -------------------------------------------------------------------- */

static void test_logprobs_are_those_of_the_softmax(void **state) {
    (void)state;
    static const int vocabs[] = {1, 2, 63, 64, 65, 1000, 4000};
    static const double widths[] = {0.01, 1, 5, 40};
    float logits[MAX_VOCAB], kept[MAX_VOCAB];
    for (size_t v = 0; v < sizeof vocabs / sizeof *vocabs; v++) {
        int vocab = vocabs[v];
        struct sampler *sampler;
        assert_int_equal(sampler_create(&sampler, vocab, NULL, 0, NULL), STATUS_OK);
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
            double max = -INFINITY, sum = 0, total = 0;
            for (int i = 0; i < vocab; i++) {
                logits[i] = (float)(widths[w] * rng_normal(v, (uint64_t)i) + 100);
                max = fmax(max, (double)logits[i]);
            }
            memcpy(kept, logits, sizeof kept);
            for (int i = 0; i < vocab; i++)
                sum += exp((double)logits[i] - max);
            sampler_compute_logprobs(sampler, logits);
            assert_memory_equal(logits, kept, (size_t)vocab * sizeof *logits);
            for (int i = 0; i < vocab; i++) {
                double expected = (double)logits[i] - max - log(sum);
                double got = (double)sampler_logprobs(sampler, i, 0).own;
                total += exp(got);
                if (!(got <= 0 && fabs(got - expected) <= 2e-7 * (1 + fabs(expected))))
                    fail_msg("vocab %d, width %g, token %d: %.9g, expected %.9g", vocab, widths[w],
                             i, got, expected);
            }
            assert_true(fabs(total - 1) < 1e-6);
        }
        sampler_destroy(sampler);
    }
}

static void test_top_logprobs_are_the_highest_in_order(void **state) {
    (void)state;
    enum { VOCAB = 300 };
    float logits[VOCAB];
    struct sampler *sampler;
    assert_int_equal(sampler_create(&sampler, VOCAB, NULL, 0, NULL), STATUS_OK);
    for (uint64_t trial = 0; trial < 50; trial++) {
        for (int i = 0; i < VOCAB; i++) /* few values, so many ties */
            logits[i] = (float)(rng_bits(trial, (uint64_t)i) % 40);
        sampler_compute_logprobs(sampler, logits);
        for (int top = 0; top <= TOP_LOGPROBS_MAX; top++) {
            struct token_logprobs logprobs = sampler_logprobs(sampler, (int32_t)trial, top);
            bool taken[VOCAB] = {false};
            for (int k = 0; k < top; k++) {
                int32_t best = -1;
                for (int32_t i = 0; i < VOCAB; i++)
                    if (!taken[i] && (best < 0 || logits[i] > logits[best]))
                        best = i;
                taken[best] = true;
                assert_int_equal(logprobs.top_ids[k], best);
                assert_true(logprobs.top[k] == sampler_logprobs(sampler, best, 0).own);
            }
            for (int k = top; k < TOP_LOGPROBS_MAX; k++)
                assert_int_equal(logprobs.top_ids[k], -1);
        }
    }
    sampler_destroy(sampler);
}

/* Log-probabilities and the draw do not disturb each other. */
static void test_logprobs_outlast_the_draw(void **state) {
    (void)state;
    enum { VOCAB = 200 };
    float logits[VOCAB], copy[VOCAB];
    const int32_t history[] = {5, 6, 7}, suppressed[] = {0, 1, 3};
    struct sampling s = OF(1.3f, 20, 0.9f, 0.01f, 1.4f, 3);
    struct sampler *sampler;
    assert_int_equal(sampler_create(&sampler, VOCAB, suppressed, 3, NULL), STATUS_OK);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = (float)rng_normal(8, (uint64_t)i);
    int32_t drawn = next(VOCAB, &s, logits, history, 3, suppressed, 3);
    sampler_compute_logprobs(sampler, logits);
    struct token_logprobs before = sampler_logprobs(sampler, drawn, 5);
    memcpy(copy, logits, sizeof copy);
    assert_int_equal(sampler_next(sampler, &s, copy, history, 0, 3), drawn);
    struct token_logprobs after = sampler_logprobs(sampler, drawn, 5);
    assert_memory_equal(&before, &after, sizeof before);
    sampler_destroy(sampler);
}

static void test_logprobs_are_the_same_bits_on_every_set(void **state) {
    (void)state;
    static const char *const sets[] = {"portable", "avx2", "avx512"};
    enum { VOCAB = 3999, ROWS = 40 };
    float logits[VOCAB];
    static float own[ROWS][VOCAB];
    int compared = 0;
    for (size_t set = 0; set < sizeof sets / sizeof *sets; set++) {
        struct sampler *sampler;
        if (kernels_select(sets[set], NULL) != STATUS_OK)
            continue;
        assert_int_equal(sampler_create(&sampler, VOCAB, NULL, 0, NULL), STATUS_OK);
        for (int row = 0; row < ROWS; row++) {
            for (int i = 0; i < VOCAB; i++)
                logits[i] = (float)(rng_normal((uint64_t)row, (uint64_t)i) * (0.1 * row));
            sampler_compute_logprobs(sampler, logits);
            for (int i = 0; i < VOCAB; i++) {
                float got = sampler_logprobs(sampler, i, 0).own;
                if (compared == 0)
                    own[row][i] = got;
                assert_true(own[row][i] == got);
            }
        }
        compared++;
        sampler_destroy(sampler);
    }
    assert_int_equal(kernels_select(NULL, NULL), STATUS_OK);
    assert_true(compared > 0);
}

static void test_logprobs_of_broken_logits(void **state) {
    (void)state;
    const float mixed[] = {NAN, -INFINITY, 1, 1, NAN}, none[] = {NAN, -INFINITY, NAN, NAN, NAN},
                endless[] = {INFINITY, 0, -FLT_MAX, INFINITY, NAN};
    struct sampler *sampler;
    assert_int_equal(sampler_create(&sampler, 5, NULL, 0, NULL), STATUS_OK);
    sampler_compute_logprobs(sampler, mixed);
    assert_true(fabs(sampler_logprobs(sampler, 3, 0).own + logf(2)) < 1e-6);
    assert_true(sampler_logprobs(sampler, 0, 0).own == -INFINITY);
    assert_true(sampler_logprobs(sampler, 0, 5).top[4] == -INFINITY);
    sampler_compute_logprobs(sampler, none);
    for (int i = 0; i < 5; i++)
        assert_true(sampler_logprobs(sampler, i, 5).own == -INFINITY);
    sampler_compute_logprobs(sampler, endless);
    assert_true(fabs(sampler_logprobs(sampler, 0, 0).own + logf(2)) < 1e-6);
    assert_true(sampler_logprobs(sampler, 1, 0).own < -FLT_MAX / 2);
    assert_true(sampler_logprobs(sampler, 2, 0).own == -INFINITY);
    sampler_destroy(sampler);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agrees_with_the_reference),
        cmocka_unit_test(test_greedy_takes_the_most_likely),
        cmocka_unit_test(test_penalty_counts_a_token_once),
        cmocka_unit_test(test_draws_follow_the_distribution),
        cmocka_unit_test(test_suppressed_is_never_drawn),
        cmocka_unit_test(test_ties_go_to_the_lower_id),
        cmocka_unit_test(test_a_draw_depends_on_seed_and_position_only),
        cmocka_unit_test(test_broken_logits_are_survived),
        cmocka_unit_test(test_penalties_count_what_was_generated),
        cmocka_unit_test(test_biases_decide_which_token_is_likeliest),
        cmocka_unit_test(test_wrong_biases_are_found),
        cmocka_unit_test(test_settings_out_of_range_are_refused_by_name),
        cmocka_unit_test(test_logprobs_are_those_of_the_softmax),
        cmocka_unit_test(test_top_logprobs_are_the_highest_in_order),
        cmocka_unit_test(test_logprobs_outlast_the_draw),
        cmocka_unit_test(test_logprobs_are_the_same_bits_on_every_set),
        cmocka_unit_test(test_logprobs_of_broken_logits),
    };
    return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
