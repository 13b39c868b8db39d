/* Adam, AdamW and Muon against their formulas. */
#include "tests/support/tiny_model.h"
#include "train/optim/muon.h"
#include "train/optim/optimizer.h"
#include "train/optim/orthogonalize.h"

#include "base/pool.h"
#include "base/rng.h"
#include "model/kernels/bf16.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct pool *pool; /* of two workers */

static int group_setup(void **state) {
    (void)state;
    return pool_create(&pool, 2, NULL) == STATUS_OK ? 0 : 1;
}

static int group_teardown(void **state) {
    (void)state;
    pool_destroy(pool);
    return 0;
}

static void fill(float *values, size_t count, uint64_t key) {
    for (size_t i = 0; i < count; i++)
        values[i] = (float)rng_normal(key, i);
}

static float *random_buffer(size_t count, uint64_t key) {
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    fill(values, count, key);
    return values;
}

static void close_to(double value, double expected, double bound) {
    if (!(fabs(value - expected) <= bound))
        fail_msg("%.9g, expected %.9g", value, expected);
}

/* ---- Adam ----------------------------------------------------------------- */

/* Kingma & Ba's algorithm 1 in double precision, with AdamW's decoupled decay. */
struct reference {
    double p, m, v;
};

static void reference_step(struct reference *r, int t, double gradient, double rate, double decay) {
    const double b1 = 0.9, b2 = 0.99, eps = 1e-6;
    r->p -= rate * decay * r->p;
    r->m = b1 * r->m + (1 - b1) * gradient;
    r->v = b2 * r->v + (1 - b2) * gradient * gradient;
    r->p -= rate * (r->m / (1 - pow(b1, t))) / (sqrt(r->v / (1 - pow(b2, t))) + eps);
}

static void check_adam(enum optimizer_kind kind) {
    struct model_config config = tiny_config();
    size_t floats = model_buffer_floats(&config);
    struct optimizer_options options = {.kind = kind, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-6f};
    struct optimizer optimizer;
    assert_int_equal(optimizer_create(&optimizer, &options, DTYPE_F32, &config, 2, NULL),
                     STATUS_OK);
    float *parameters = random_buffer(floats, 1), *gradients = malloc(floats * sizeof(float));
    struct reference *expected = calloc(floats, sizeof *expected);
    assert_true(gradients && expected);
    for (size_t i = 0; i < floats; i++)
        expected[i].p = (double)parameters[i];
    for (int t = 1; t <= 4; t++) {
        fill(gradients, floats, 100 + (uint64_t)t);
        optimizer_step(&optimizer, pool, parameters, gradients, 0.5f,
                       (struct learning_rates){9, 0.01f, 0.5f}); /* `matrices` is muon's alone */
        for (int n = 0; n < model_tensor_count(&config); n++) {
            struct tensor_info info;
            model_tensor(&config, n, &info);
            bool decays = kind == OPTIMIZER_ADAMW && info.rank == 2;
            for (size_t i = info.offset; i < info.offset + info.count; i++) {
                reference_step(&expected[i], t, 0.5 * (double)gradients[i], 0.01,
                               decays ? 0.5 : 0);
                close_to((double)parameters[i], expected[i].p, 2e-6);
            }
        }
    }
    assert_int_equal(optimizer.steps, 4);
    free(parameters);
    free(gradients);
    free(expected);
    optimizer_destroy(&optimizer);
}

static void adam_follows_its_formula(void **state) {
    (void)state;
    check_adam(OPTIMIZER_ADAM);
}

static void adamw_decays_matrices_only(void **state) {
    (void)state;
    check_adam(OPTIMIZER_ADAMW);
}

/* ---- Muon ----------------------------------------------------------------- */

enum { MAX_N = 24 };

/* Eigenvalues of a symmetric matrix by Jacobi rotations; on return its diagonal. */
static void jacobi(double a[MAX_N][MAX_N], int n) {
    for (int sweep = 0; sweep < 30; sweep++)
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++) {
                if (fabs(a[p][q]) < 1e-14)
                    continue;
                double theta = 0.5 * atan2(2 * a[p][q], a[q][q] - a[p][p]);
                double c = cos(theta), s = sin(theta);
                for (int k = 0; k < n; k++) {
                    double x = a[k][p], y = a[k][q];
                    a[k][p] = c * x - s * y;
                    a[k][q] = s * x + c * y;
                }
                for (int k = 0; k < n; k++) {
                    double x = a[p][k], y = a[q][k];
                    a[p][k] = c * x - s * y;
                    a[q][k] = s * x + c * y;
                }
            }
}

/* All singular values of x[rows, columns] lie in [low, high]. */
static void check_singular_values(const float *x, int rows, int columns, double low, double high) {
    static double gram[MAX_N][MAX_N];
    int n = rows < columns ? rows : columns, length = rows < columns ? columns : rows;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            gram[i][j] = 0;
            for (int k = 0; k < length; k++)
                gram[i][j] += rows < columns
                                  ? (double)x[i * columns + k] * (double)x[j * columns + k]
                                  : (double)x[k * columns + i] * (double)x[k * columns + j];
        }
    jacobi(gram, n);
    for (int i = 0; i < n; i++) {
        double singular = sqrt(gram[i][i]);
        if (!(singular >= low && singular <= high))
            fail_msg("%d x %d: singular value %g", rows, columns, singular);
    }
}

static float *scratch_for(size_t rows, size_t columns) {
    float *scratch = aligned_alloc(64, orthogonalize_scratch_floats(rows, columns) * sizeof(float));
    assert_non_null(scratch);
    return scratch;
}

static void check_orthogonalizing(enum dtype dtype) {
    const int shapes[][2] = {{24, 24}, {8, 50}, {50, 8}, {24, 25}, {1, 30}, {30, 1}, {1, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        int rows = shapes[i][0], columns = shapes[i][1];
        size_t count = (size_t)rows * (size_t)columns;
        float *x = random_buffer(count, 40 + i);
        float *scratch = scratch_for((size_t)rows, (size_t)columns);
        /* A square random matrix has a singular value close to 0, which five steps do not lift. */
        if (rows == columns)
            for (int d = 0; d < rows; d++)
                x[d * columns + d] += 12.0f;
        orthogonalize(x, (size_t)rows, (size_t)columns, dtype, scratch);
        check_singular_values(x, rows, columns, 0.65, 1.25);
        free(scratch);
        free(x);
    }
}

static void orthogonalizing_makes_singular_values_one(void **state) {
    (void)state;
    check_orthogonalizing(DTYPE_F32);
    if (bf16_available())
        check_orthogonalizing(DTYPE_BF16);
}

/* With more rows than a block of symmetric products has, both ways round. */
static void orthogonalizing_in_bf16_agrees_with_fp32(void **state) {
    (void)state;
    if (!bf16_available())
        skip();
    const size_t shapes[][2] = {{130, 300}, {300, 130}, {217, 217}};
    for (size_t i = 0; i < 3; i++) {
        size_t rows = shapes[i][0], columns = shapes[i][1], count = rows * columns;
        float *exact = random_buffer(count, i), *rounded = random_buffer(count, i);
        float *scratch = scratch_for(rows, columns);
        orthogonalize(exact, rows, columns, DTYPE_F32, scratch);
        orthogonalize(rounded, rows, columns, DTYPE_BF16, scratch);
        assert_true(relative_difference(rounded, exact, count) < 0.03);
        free(exact);
        free(rounded);
        free(scratch);
    }
}

static double dot(const float *x, const float *y, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)x[i] * (double)y[i];
    return sum;
}

/* The result has the left and right singular vectors of the input: it is the matrix that
 * correlates best with it, so <input, output> is close to the sum of the singular values. */
static void orthogonalizing_keeps_the_directions(void **state) {
    (void)state;
    enum { N = 12 };
    float x[N * N], *scratch = scratch_for(N, N);
    memset(x, 0, sizeof x);
    for (int i = 0; i < N; i++) /* a permutation with signs and different sizes */
        x[i * N + (i * 5 + 3) % N] = (i % 2 ? -1.0f : 1.0f) * (1.0f + (float)i * 0.2f);
    orthogonalize(x, N, N, DTYPE_F32, scratch);
    free(scratch);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            float value = x[i * N + j];
            if (j == (i * 5 + 3) % N)
                assert_true((i % 2 ? -value : value) > 0.65f && fabsf(value) < 1.25f);
            else
                assert_true(fabsf(value) < 1e-2f);
        }
}

/* Within one step: matrices of the layers by Muon, each of q, k and v apart; the rest by Adam. */
static void muon_takes_the_matrices_of_the_layers(void **state) {
    (void)state;
    struct model_config config = tiny_config();
    size_t floats = model_buffer_floats(&config), d = (size_t)config.d_model;
    struct optimizer_options options = {.kind = OPTIMIZER_MUON, .beta1 = 0.9f, .beta2 = 0.99f,
                                        .eps = 1e-8f, .momentum = 0.9f};
    struct optimizer optimizer;
    assert_int_equal(optimizer_create(&optimizer, &options, DTYPE_F32, &config, 2, NULL),
                     STATUS_OK);
    float *start = random_buffer(floats, 1), *parameters = random_buffer(floats, 1);
    float *gradients = random_buffer(floats, 2);
    optimizer_step(&optimizer, pool, parameters, gradients, 1,
                   (struct learning_rates){0.5f, 0.01f, 0.25f});
    size_t matrices = 0;
    for (int n = 0; n < model_tensor_count(&config); n++) {
        struct tensor_info info;
        model_tensor(&config, n, &info);
        bool muon = info.rank == 2 && strncmp(info.name, "encoder.layers.", 15) == 0;
        assert_int_equal(muon_applies(&info), muon);
        const float *p = parameters + info.offset, *s = start + info.offset;
        const float *g = gradients + info.offset;
        if (!muon) { /* Adam's first step moves every element by the rate, against the gradient */
            float kept = info.rank == 2 ? 1 - 0.01f * 0.25f : 1;
            for (size_t i = 0; i < info.count; i++)
                close_to((double)p[i], (double)(s[i] * kept - (g[i] > 0 ? 0.01f : -0.01f)), 1e-5);
            continue;
        }
        matrices++;
        size_t rows = info.rows == 3 * d ? d : info.rows;
        double stretch = rows > info.columns ? sqrt((double)rows / (double)info.columns) : 1;
        for (size_t part = 0; part < info.rows / rows; part++) {
            size_t count = rows * info.columns, from = part * count;
            float *update = malloc(count * sizeof *update);
            assert_non_null(update);
            for (size_t i = 0; i < count; i++)
                update[i] = (s[from + i] * (1 - 0.5f * 0.25f) - p[from + i]) /
                            (float)(0.5 * stretch);
            check_singular_values(update, (int)rows, (int)info.columns, 0.0, 1.25);
            double size = sqrt(dot(update, update, count));
            double smaller = (double)(rows < info.columns ? rows : info.columns);
            assert_true(size > 0.7 * sqrt(smaller) && size < 1.2 * sqrt(smaller));
            assert_true(dot(update, g + from, count) > 0); /* downhill */
            free(update);
        }
    }
    assert_int_equal(matrices, 4 * (size_t)config.layers);
    free(start);
    free(parameters);
    free(gradients);
    optimizer_destroy(&optimizer);
}

static void muon_has_nesterov_momentum(void **state) {
    (void)state;
    struct model_config config = tiny_config();
    size_t floats = model_buffer_floats(&config);
    struct optimizer_options options = {.kind = OPTIMIZER_MUON, .beta1 = 0.9f, .beta2 = 0.99f,
                                        .eps = 1e-8f, .momentum = 0.5f};
    struct optimizer optimizer;
    assert_int_equal(optimizer_create(&optimizer, &options, DTYPE_F32, &config, 2, NULL),
                     STATUS_OK);
    float *parameters = random_buffer(floats, 1), *first = random_buffer(floats, 2);
    float *second = random_buffer(floats, 3);
    struct learning_rates rates = {0.1f, 0.1f, 0};
    optimizer_step(&optimizer, pool, parameters, first, 1, rates);
    optimizer_step(&optimizer, pool, parameters, second, 1, rates);
    struct tensor_info info;
    for (int n = 0; n < model_tensor_count(&config); n++) {
        model_tensor(&config, n, &info);
        for (size_t i = info.offset; muon_applies(&info) && i < info.offset + info.count; i++)
            close_to((double)optimizer.moment1[i], 0.5 * (double)first[i] + (double)second[i],
                     1e-5);
    }
    free(parameters);
    free(first);
    free(second);
    optimizer_destroy(&optimizer);
}

/* One step of Muon by the part of several that `bounds` gives, on a pool of its own. */
static void take_part(const size_t *bounds, int part, int workers, float *parameters,
                      float *momentum) {
    struct model_config config = tiny_config();
    size_t floats = model_buffer_floats(&config);
    struct optimizer_options options = {.kind = OPTIMIZER_MUON, .beta1 = 0.9f, .beta2 = 0.99f,
                                        .eps = 1e-8f, .momentum = 0.5f, .bounds = bounds,
                                        .part = part};
    struct optimizer optimizer;
    struct pool *own;
    float *gradients = random_buffer(floats, 2);
    assert_int_equal(pool_create(&own, workers, NULL), STATUS_OK);
    assert_int_equal(optimizer_create(&optimizer, &options, DTYPE_F32, &config, workers, NULL),
                     STATUS_OK);
    for (int i = 0; i < 2; i++)
        optimizer_step(&optimizer, own, parameters, gradients, 0.7f,
                       (struct learning_rates){0.1f, 0.1f, 0.1f});
    memcpy(momentum, optimizer.moment1, floats * sizeof *momentum);
    optimizer_destroy(&optimizer);
    pool_destroy(own);
    free(gradients);
}

/* Parts of the matrices, put together, are the whole, bit for bit. */
static void muon_is_divided_without_a_trace(void **state) {
    (void)state;
    enum { MOST = 40 };
    struct model_config config = tiny_config();
    size_t floats = model_buffer_floats(&config), bounds[MOST + 1];
    float *whole = random_buffer(floats, 1), *momentum = random_buffer(floats, 0);
    float *its = random_buffer(floats, 0);
    take_part(NULL, 0, 1, whole, momentum);
    for (int parts = 1; parts <= MOST; parts += parts < 4 ? 1 : 12) {
        muon_bounds(&config, parts, bounds);
        float *together = random_buffer(floats, 1);
        for (int part = 0; part < parts; part++) {
            float *parameters = random_buffer(floats, 1);
            take_part(bounds, part, 1 + part % 3, parameters, its);
            assert_memory_equal(its, momentum, floats * sizeof *its);
            if (part == 0) /* what Adam has is everybody's */
                memcpy(together, parameters, floats * sizeof *together);
            assert_true(bounds[part] <= bounds[part + 1]);
            memcpy(together + bounds[part], parameters + bounds[part],
                   (bounds[part + 1] - bounds[part]) * sizeof *together);
            free(parameters);
        }
        assert_memory_equal(together, whole, floats * sizeof *together);
        free(together);
    }
    free(whole);
    free(momentum);
    free(its);
}

/* ---- the gradient's norm -------------------------------------------------- */

static void the_norm_is_the_same_for_any_workers(void **state) {
    (void)state;
    const size_t counts[] = {1, 15, 16, 17, 1000, 4097};
    struct pool *one, *five;
    assert_int_equal(pool_create(&one, 1, NULL), STATUS_OK);
    assert_int_equal(pool_create(&five, 5, NULL), STATUS_OK);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        float *x = random_buffer(counts[i], i);
        double norm = gradient_norm(one, x, counts[i]);
        close_to(norm, sqrt(dot(x, x, counts[i])), 1e-9 * norm);
        assert_true(norm == gradient_norm(five, x, counts[i]));
        assert_true(norm == gradient_norm(pool, x, counts[i]));
        free(x);
    }
    pool_destroy(one);
    pool_destroy(five);
}

static void an_optimizer_is_known_by_its_name(void **state) {
    (void)state;
    enum optimizer_kind kind = OPTIMIZER_MUON;
    assert_true(optimizer_kind_parse("adam", &kind) && kind == OPTIMIZER_ADAM);
    assert_true(optimizer_kind_parse("adamw", &kind) && kind == OPTIMIZER_ADAMW);
    assert_true(optimizer_kind_parse("muon", &kind) && kind == OPTIMIZER_MUON);
    assert_false(optimizer_kind_parse("sgd", &kind));
    assert_false(optimizer_kind_parse("", &kind));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adam_follows_its_formula),
        cmocka_unit_test(adamw_decays_matrices_only),
        cmocka_unit_test(orthogonalizing_makes_singular_values_one),
        cmocka_unit_test(orthogonalizing_in_bf16_agrees_with_fp32),
        cmocka_unit_test(orthogonalizing_keeps_the_directions),
        cmocka_unit_test(muon_takes_the_matrices_of_the_layers),
        cmocka_unit_test(muon_has_nesterov_momentum),
        cmocka_unit_test(muon_is_divided_without_a_trace),
        cmocka_unit_test(the_norm_is_the_same_for_any_workers),
        cmocka_unit_test(an_optimizer_is_known_by_its_name),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
