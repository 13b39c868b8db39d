/* The mathematics of a card's kernels (train/cuda/rows.h) beside the CPU's own kernels. */
#include "train/cuda/rows.h"

#include "base/rng.h"
#include "model/kernels/kernels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = PER_LANE };

static void fill(float *values, int count, uint64_t key) {
    for (int i = 0; i < count; i++)
        values[i] = (float)rng_normal(key, (uint64_t)i);
}

static void check_close(const float *a, const float *b, int count) {
    for (int i = 0; i < count; i++)
        assert_true(fabsf(a[i] - b[i]) <= 2e-5f * (1 + fabsf(b[i])));
}

static const int widths[] = {1, 7, 64, 216, 512, MOST};

static void a_norm_is_the_cpus(void **state) {
    (void)state;
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        int n = widths[w];
        float x[MOST], weight[MOST], bias[MOST], y[MOST], expected[MOST], stats[2], other[2];
        fill(x, n, 1), fill(weight, n, 2), fill(bias, n, 3);
        const struct row_norm norm = {weight, bias, n, 1e-5f};
        row_norm_forward(&norm, y, x, &stats[0], &stats[1]);
        kernels_get()->layer_norm(expected, &other[0], &other[1], x, weight, bias, (size_t)n,
                                  1e-5f);
        check_close(y, expected, n);
        check_close(stats, other, 2);

        float dy[MOST], dx[MOST], sums[2][MOST] = {{0}}, expected_sums[2][MOST] = {{0}};
        fill(dy, n, 4);
        kernels_get()->layer_norm_backward(dx, expected_sums[0], expected_sums[1], dy, x, other[0],
                                           other[1], weight, (size_t)n);
        row_norm_backward(&norm, dy, x, stats, sums[0], sums[1]);
        check_close(dy, dx, n);
        check_close(sums[0], expected_sums[0], n);
        check_close(sums[1], expected_sums[1], n);
    }
}

static void dropout_drops_what_the_cpu_drops(void **state) {
    (void)state;
    const struct dropout_row at[] = {{0, 0}, {5, 1}, {5, 200}};
    const float rate = 0.3f;
    const struct dropout dropout = {.key = 77, .rows = at};
    for (int row = 0; row < 3; row++) {
        float x[MOST], expected[MOST];
        uint32_t keys[3] = {0};
        fill(x, MOST, 1);
        memcpy(expected, x, sizeof x);
        keys[row] = dropout_row_key(&dropout, 4, DROPOUT_HIDDEN, row);
        kernels_get()->dropout(expected, MOST, keys[row], dropout_threshold(rate),
                               dropout_scale(rate));
        const struct row_dropout same = {keys, dropout_threshold(rate), dropout_scale(rate)};
        row_drop(x, MOST, &same, row);
        assert_memory_equal(x, expected, sizeof x);
        const struct row_dropout none = {NULL, 0, 1};
        row_drop(x, MOST, &none, row);
        assert_memory_equal(x, expected, sizeof x);
    }
}

static void relu_lets_a_gradient_by_where_the_cpu_does(void **state) {
    (void)state;
    float y[MOST], dy[MOST], expected[MOST];
    fill(y, MOST, 1), fill(dy, MOST, 2);
    y[3] = 0;
    memcpy(expected, dy, sizeof dy);
    kernels_get()->relu_backward(expected, y, MOST, 1.25f);
    for (int i = 0; i < MOST; i++)
        assert_true(relu_gradient(dy[i], y[i], 1.25f) == expected[i]);
}

/* softmax minus the mixed target, which sums to 1: so a row's gradients sum to 0. */
static void logit_gradients_sum_to_nothing(void **state) {
    (void)state;
    float softmax[MOST], soft[MOST], sum = 0;
    const struct logit_target target = {0.5f, 0.25f};
    fill(softmax, MOST, 1), fill(soft, MOST, 2);
    kernels_get()->softmax(softmax, MOST);
    kernels_get()->softmax(soft, MOST);
    for (int i = 0; i < MOST; i++) {
        float gradient = logit_gradient(&target, softmax[i], i == 9, soft[i]);
        float without = (softmax[i] - 0.25f * soft[i] - (i == 9 ? 0.75f : 0)) * 0.5f;
        assert_true(fabsf(gradient - without) < 1e-7f);
        sum += gradient;
    }
    assert_true(fabsf(sum) < 1e-5f);
}

static void keys_taken_one_by_one_make_a_softmax(void **state) {
    (void)state;
    float scores[300], values[300], out = 0, expected = 0;
    fill(scores, 300, 1), fill(values, 300, 2);
    for (int i = 0; i < 300; i++)
        scores[i] *= 30; /* so that the maximum changes often, and by much */
    struct online_softmax softmax = {-INFINITY, 0};
    for (int i = 0; i < 300; i++) {
        float kept, share = online_softmax_take(&softmax, scores[i], &kept);
        out = out * kept + share * values[i];
    }
    float logsumexp = kernels_get()->softmax(scores, 300);
    for (int i = 0; i < 300; i++)
        expected += scores[i] * values[i];
    assert_true(fabsf(out / softmax.sum - expected) < 1e-5f);
    assert_true(fabsf(softmax.max + logf(softmax.sum) - logsumexp) < 1e-4f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_norm_is_the_cpus),
        cmocka_unit_test(dropout_drops_what_the_cpu_drops),
        cmocka_unit_test(relu_lets_a_gradient_by_where_the_cpu_does),
        cmocka_unit_test(logit_gradients_sum_to_nothing),
        cmocka_unit_test(keys_taken_one_by_one_make_a_softmax),
    };
    return cmocka_run_group_tests_name("card_rows", tests, NULL, NULL);
}
