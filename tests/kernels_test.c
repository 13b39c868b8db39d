/* Every instruction set's row kernels against the portable reference: the same
 * bits, at odd sizes, on buffers that end at a protected page; and the
 * reference against plain double arithmetic. */
#include "base/rng.h"
#include "model/kernels/dropout.h"
#include "model/kernels/kernels.h"
#include "tests/support/fence.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const size_t sizes[] = {1, 2, 7, 15, 16, 17, 31, 33, 54, 64, 216, 255, 1024, 4000};
enum { SIZES = sizeof sizes / sizeof *sizes, BUFFERS = 4 };

/* The sets that this CPU can run; the reference first. */
static int usable_sets(const struct kernels *sets[3]) {
    static const char *const names[] = {"portable", "avx2", "avx512"};
    int count = 0;
    for (int i = 0; i < 3; i++)
        if (kernels_select(names[i], NULL) == STATUS_OK)
            sets[count++] = kernels_get();
    assert_int_equal(kernels_select(NULL, NULL), STATUS_OK);
    return count;
}

struct buffers {
    size_t n;
    struct fence fences[BUFFERS];
    float *x[BUFFERS];
};

static struct buffers buffers_create(size_t n) {
    struct buffers b = {.n = n};
    for (int i = 0; i < BUFFERS; i++) {
        b.fences[i] = fence_create(n * sizeof(float));
        b.x[i] = b.fences[i].data;
    }
    return b;
}

static void buffers_fill(struct buffers *b, uint64_t key) {
    for (int i = 0; i < BUFFERS; i++)
        for (size_t j = 0; j < b->n; j++)
            b->x[i][j] = (float)(3 * rng_normal(key + (uint64_t)i, j));
}

static void buffers_destroy(struct buffers *b) {
    for (int i = 0; i < BUFFERS; i++)
        fence_destroy(&b->fences[i]);
}

/* Each runs one kernel on b->x[0], reading the others, and returns its scalar result. */
typedef float run_kernel(const struct kernels *k, struct buffers *b);

static float run_add(const struct kernels *k, struct buffers *b) {
    k->add(b->x[0], b->x[1], b->n);
    return 0;
}
static float run_bias(const struct kernels *k, struct buffers *b) {
    k->add_bias(b->x[0], b->x[1], b->n, false);
    return 0;
}
static float run_bias_relu(const struct kernels *k, struct buffers *b) {
    k->add_bias(b->x[0], b->x[1], b->n, true);
    return 0;
}
static float run_norm(const struct kernels *k, struct buffers *b) {
    float mean, rstd;
    k->layer_norm(b->x[0], &mean, &rstd, b->x[1], b->x[2], b->x[3], b->n, 1e-5f);
    return mean + rstd;
}
static float run_norm_backward(const struct kernels *k, struct buffers *b) {
    float weights[4000];
    for (size_t i = 0; i < b->n; i++)
        weights[i] = 1.0f + (float)i;
    k->layer_norm_backward(b->x[0], b->x[2], b->x[3], b->x[0], b->x[1], 0.25f, 0.5f, weights,
                           b->n);
    return 0;
}
static float run_softmax(const struct kernels *k, struct buffers *b) {
    return k->softmax(b->x[0], b->n);
}
static float run_exp_minus(const struct kernels *k, struct buffers *b) {
    k->exp_minus(b->x[0], 1.5f, b->n);
    return 0;
}
static float run_relu_backward(const struct kernels *k, struct buffers *b) {
    k->relu_backward(b->x[0], b->x[1], b->n, 1.25f);
    return 0;
}
static float run_dot(const struct kernels *k, struct buffers *b) {
    return k->dot(b->x[0], b->x[1], b->n);
}
static float run_dropout(const struct kernels *k, struct buffers *b) {
    k->dropout(b->x[0], b->n, 12345, 1u << 30, 4.0f / 3.0f);
    return 0;
}
/* With what no sound model gives among the numbers. */
static float run_repair(const struct kernels *k, struct buffers *b) {
    static const float broken[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < b->n; i += 5)
        b->x[0][i] = broken[i / 5 % 3];
    return k->repair(b->x[0], b->n);
}
static float run_exp_scaled(const struct kernels *k, struct buffers *b) {
    k->exp_scaled(b->x[0], 4.5f, 0.7f, b->n);
    return 0;
}

/* At a limit that about half of the elements are below, and one that hardly any is. */
static float run_below(const struct kernels *k, struct buffers *b) {
    size_t n = b->n < 64 ? b->n : 64;
    uint64_t bits = k->below(b->x[1], n, 777, 5, 0.25f) ^ k->below(b->x[1], n, 778, 5, 0.001f) << 1;
    return (float)(bits % 16777213); /* exact */
}

static run_kernel *const runs[] = {run_add,           run_bias,     run_bias_relu,
                                   run_norm,          run_softmax,  run_norm_backward,
                                   run_relu_backward, run_dot,      run_dropout,
                                   run_exp_minus,     run_below,    run_repair,
                                   run_exp_scaled};

static void every_set_gives_the_same_bits(void **state) {
    (void)state;
    const struct kernels *sets[3];
    int count = usable_sets(sets);
    for (size_t s = 0; s < SIZES; s++) {
        struct buffers expected = buffers_create(sizes[s]), got = buffers_create(sizes[s]);
        for (size_t r = 0; r < sizeof runs / sizeof *runs; r++) {
            buffers_fill(&expected, s * 100 + r);
            float reference = runs[r](sets[0], &expected);
            for (int i = 1; i < count; i++) {
                buffers_fill(&got, s * 100 + r);
                float result = runs[r](sets[i], &got);
                assert_memory_equal(&result, &reference, sizeof result);
                for (int b = 0; b < BUFFERS; b++)
                    assert_memory_equal(got.x[b], expected.x[b], sizes[s] * sizeof(float));
            }
        }
        buffers_destroy(&expected);
        buffers_destroy(&got);
    }
}

static void attend_row_gives_the_same_bits(void **state) {
    (void)state;
    enum { COUNT = 37, DIM = 54, STRIDE = 216 };
    const struct kernels *sets[3];
    int sets_count = usable_sets(sets);
    struct fence q = fence_create(DIM * sizeof(float));
    /* The last row ends at the fence: a stride beyond it must not be touched. */
    struct fence kv = fence_create(((COUNT - 1) * STRIDE + DIM) * sizeof(float));
    float *query = q.data, *keys = kv.data;
    for (size_t i = 0; i < DIM; i++)
        query[i] = (float)rng_normal(1, i);
    for (size_t i = 0; i < (COUNT - 1) * STRIDE + DIM; i++)
        keys[i] = (float)rng_normal(2, i);
    float expected[DIM], got[DIM], scores[COUNT];
    float reference = sets[0]->attend_row(expected, query, keys, keys, STRIDE, COUNT, DIM, 0.136f,
                                          scores);
    for (int i = 1; i < sets_count; i++) {
        float logsumexp =
            sets[i]->attend_row(got, query, keys, keys, STRIDE, COUNT, DIM, 0.136f, scores);
        assert_memory_equal(&logsumexp, &reference, sizeof logsumexp);
        assert_memory_equal(got, expected, sizeof expected);
    }
    fence_destroy(&q);
    fence_destroy(&kv);
}

/* ---- the reference itself -------------------------------------------------- */

static void softmax_is_exact_enough(void **state) {
    (void)state;
    float x[4000], original[4000];
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = sizes[s];
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            x[i] = original[i] = (float)(8 * rng_normal(s, i));
        for (size_t i = 0; i < n; i++)
            sum += exp((double)original[i]);
        float logsumexp = kernels_portable.softmax(x, n);
        assert_true(fabs((double)logsumexp - log(sum)) < 1e-5);
        for (size_t i = 0; i < n; i++) {
            double expected = exp((double)original[i]) / sum;
            /* x - max, about 50 here, is itself only known to half a unit, 2e-6. */
            assert_true(fabs((double)x[i] - expected) < 5e-6 * expected + 1e-38);
        }
    }
}

static void softmax_takes_extremes(void **state) {
    (void)state;
    float x[3] = {-1e30f, 1e30f, 1e30f};
    kernels_portable.softmax(x, 3);
    assert_true(x[0] >= 0 && x[0] < 1e-37f);
    assert_true(fabsf(x[1] - 0.5f) < 1e-6f && fabsf(x[2] - 0.5f) < 1e-6f);
    float one[1] = {-5};
    assert_true(fabsf(kernels_portable.softmax(one, 1) + 5) < 1e-6f);
    assert_true(fabsf(one[0] - 1) < 1e-6f);
}

static void layer_norm_follows_its_formula(void **state) {
    (void)state;
    enum { N = 216 };
    float x[N], y[N], weight[N], bias[N], mean, rstd;
    double m = 0, v = 0;
    for (size_t i = 0; i < N; i++) {
        x[i] = (float)(10 + 3 * rng_normal(7, i));
        weight[i] = (float)rng_normal(8, i);
        bias[i] = (float)rng_normal(9, i);
        m += (double)x[i] / N;
    }
    for (size_t i = 0; i < N; i++)
        v += ((double)x[i] - m) * ((double)x[i] - m) / N;
    kernels_portable.layer_norm(y, &mean, &rstd, x, weight, bias, N, 1e-5f);
    for (size_t i = 0; i < N; i++) {
        double expected = ((double)x[i] - m) / sqrt(v + 1e-5) * (double)weight[i] +
                          (double)bias[i];
        assert_true(fabs((double)y[i] - expected) < 1e-5);
    }
}

/* Computed apart from this code, from what dropout.h says; another device must draw the same. */
static void dropout_draws_known_bits(void **state) {
    (void)state;
    static const struct {
        uint64_t step;
        struct dropout_row at;
        int layer, site;
        uint32_t key, bits[3]; /* of columns 0, 1 and 511 */
    } cases[] = {
        {0, {0, 0}, 0, 0, 0x2130748a, {0x2e4f4af6, 0x84adf4ba, 0xa115eed1}},
        {9, {0, 0}, 0, 0, 0x90430cc9, {0xb96903f9, 0xb69433f2, 0x9f2655f2}},
        {9, {1, 0}, 0, 0, 0x968b7075, {0x96c9ced3, 0x6b85ffb1, 0xd977309f}},
        {9, {0, 1}, 0, 0, 0xa1b31cda, {0xa9a32498, 0xe7af72e6, 0x7d3a9bc8}},
        {9, {0, 0}, 1, 0, 0x3cafdcd0, {0xfb16a7f6, 0xd5dbaebb, 0xfb780ab8}},
        {9, {0, 0}, 0, 1, 0xd0d37933, {0xef171737, 0x1617e446, 0x916c368f}},
        {0xfedcba9876543210, {767, 254}, 7, 11, 0x80e8091d, {0x19adc0b9, 0x3ca6fed9, 0xb9d02cbb}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t key = dropout_key(cases[i].step, cases[i].at, cases[i].layer, cases[i].site);
        assert_int_equal(key, cases[i].key);
        assert_int_equal(dropout_bits(key, 0), cases[i].bits[0]);
        assert_int_equal(dropout_bits(key, 1), cases[i].bits[1]);
        assert_int_equal(dropout_bits(key, 511), cases[i].bits[2]);
    }
}

static void dropout_drops_the_asked_share(void **state) {
    (void)state;
    enum { N = 4000, ROWS = 50 };
    float x[N];
    int dropped = 0;
    for (uint32_t row = 0; row < ROWS; row++) {
        for (size_t i = 0; i < N; i++)
            x[i] = 1;
        kernels_portable.dropout(x, N, (uint32_t)rng_bits(1, row), 429496730u /* 0.1 */,
                                 1 / 0.9f);
        for (size_t i = 0; i < N; i++) {
            assert_true(x[i] == 0.0f || fabsf(x[i] - 1 / 0.9f) < 1e-6f);
            dropped += x[i] == 0.0f;
        }
    }
    /* 20,000 expected of 200,000; the standard deviation is 134. */
    assert_in_range(dropped, 20000 - 700, 20000 + 700);
}

static void an_unknown_set_is_refused(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(kernels_select("sse9", &err), STATUS_INVALID);
    assert_string_equal(err.field, "cpu");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_gives_the_same_bits),
        cmocka_unit_test(attend_row_gives_the_same_bits),
        cmocka_unit_test(softmax_is_exact_enough),
        cmocka_unit_test(softmax_takes_extremes),
        cmocka_unit_test(layer_norm_follows_its_formula),
        cmocka_unit_test(dropout_draws_known_bits),
        cmocka_unit_test(dropout_drops_the_asked_share),
        cmocka_unit_test(an_unknown_set_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
