/* Training steps: what they minimize, what they leave alone, and that they repeat bit for bit. */
#include "tests/support/tiny_model.h"
#include "train/evaluation.h"
#include "train/nonfinite.h"
#include "train/trainer.h"

#include "base/pool.h"
#include "model/kernels/bf16.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct optimizer_options ADAM = {.kind = OPTIMIZER_ADAM, .beta1 = 0.9f,
                                              .beta2 = 0.999f, .eps = 1e-8f};
static const struct optimizer_options MUON = {.kind = OPTIMIZER_MUON, .beta1 = 0.9f,
                                              .beta2 = 0.999f, .eps = 1e-8f, .momentum = 0.95f};

/* A trainer with its pool, model and one batch. */
struct bench {
    struct pool *pool;
    struct model *model;
    struct trainer trainer;
    struct dataset dataset;
    struct story_batch batch;
    size_t floats;
};

static void open_bench(struct bench *b, int threads, const struct optimizer_options *options,
                       int micro_rows, size_t stories) {
    struct error err;
    struct model_config config = tiny_config();
    *b = (struct bench){.dataset = tiny_dataset(stories, 5)};
    b->batch = tiny_batch(&b->dataset);
    b->model = tiny_model(&config, 11);
    b->floats = model_buffer_floats(&config);
    assert_int_equal(pool_create(&b->pool, threads, &err), STATUS_OK);
    struct trainer_options trainer = {.optimizer = *options, .micro_rows = micro_rows};
    assert_int_equal(trainer_create(&b->trainer, b->model, b->pool, &trainer, &err), STATUS_OK);
}

static void close_bench(struct bench *b) {
    trainer_destroy(&b->trainer);
    model_destroy(b->model);
    tiny_batch_free(&b->batch);
    dataset_free(&b->dataset);
    pool_destroy(b->pool);
}

static struct step_result step(struct bench *b, float rate, float dropout, uint64_t key) {
    struct step_options options = {.rates = {rate, rate, 0.1f},
                                   .dropout = dropout,
                                   .dropout_key = key};
    struct step_result result;
    struct error err = {0};
    if (trainer_step(&b->trainer, &b->batch, &options, &result, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return result;
}

static void check_loss_falls(const struct optimizer_options *options, float rate) {
    struct bench b;
    open_bench(&b, 2, options, 64, 12);
    double first = step(&b, rate, 0, 0).loss, last = first;
    for (int i = 0; i < 100; i++)
        last = step(&b, rate, 0, 0).loss;
    assert_true(first > 2.5 && first < 6); /* ln 29 = 3.4 for a model that knows nothing */
    assert_true(last < 1.5);               /* ln 3 = 1.1 is what the rule leaves open */
    close_bench(&b);
}

static void the_loss_falls_with_adam(void **state) {
    (void)state;
    check_loss_falls(&ADAM, 3e-3f);
}

static void the_loss_falls_with_muon(void **state) {
    (void)state;
    check_loss_falls(&MUON, 1e-2f);
}

static void open_low_precision(struct bench *b, enum dtype dtype) {
    open_bench(b, 2, &MUON, 64, 20);
    trainer_destroy(&b->trainer);
    struct trainer_options trainer = {.optimizer = MUON, .dtype = dtype, .micro_rows = 64};
    assert_int_equal(trainer_create(&b->trainer, b->model, b->pool, &trainer, NULL), STATUS_OK);
}

static void check_follows_fp32(enum dtype dtype) {
    if (!bf16_available())
        skip();
    struct bench exact, low;
    open_bench(&exact, 2, &MUON, 64, 20);
    open_low_precision(&low, dtype);
    assert_int_equal(low.model->linears[0].linear1.dtype, dtype);
    assert_int_equal(low.model->head.dtype, DTYPE_BF16);
    double a = 0, b = 0;
    for (uint64_t i = 0; i < 100; i++) {
        a = step(&exact, 1e-2f, 0.1f, i).loss;
        b = step(&low, 1e-2f, 0.1f, i).loss;
        if (i == 0)
            assert_true(relative_difference(low.trainer.gradients, exact.trainer.gradients,
                                            exact.floats) < 2e-2);
    }
    assert_true(a < 2.0 && fabs(a - b) < 0.05);
    close_bench(&exact);
    close_bench(&low);
}

static void bf16_follows_fp32(void **state) {
    (void)state;
    check_follows_fp32(DTYPE_BF16);
}

static void int8_follows_fp32(void **state) {
    (void)state;
    check_follows_fp32(DTYPE_INT8);
}

static void check_low_precision_repeats(enum dtype dtype) {
    if (!bf16_available())
        skip();
    struct bench a, b;
    open_low_precision(&a, dtype);
    open_low_precision(&b, dtype);
    for (uint64_t i = 0; i < 10; i++) {
        step(&a, 1e-3f, 0.1f, i);
        step(&b, 1e-3f, 0.1f, i);
    }
    assert_memory_equal(a.model->buffer, b.model->buffer, a.floats * sizeof(float));
    close_bench(&a);
    close_bench(&b);
}

static void bf16_repeats_bit_for_bit(void **state) {
    (void)state;
    check_low_precision_repeats(DTYPE_BF16);
}

static void int8_repeats_bit_for_bit(void **state) {
    (void)state;
    check_low_precision_repeats(DTYPE_INT8);
}

/* With dropout too: a story's masks do not depend on its micro-batch. */
static void micro_batches_add_up_to_the_whole(void **state) {
    (void)state;
    struct bench whole, parts;
    open_bench(&whole, 2, &ADAM, 4096, 20);
    open_bench(&parts, 2, &ADAM, TINY_POSITIONS, 20);
    struct step_result a = step(&whole, 0, 0.3f, 5), b = step(&parts, 0, 0.3f, 5);
    assert_true(fabs(a.loss - b.loss) < 1e-6 * a.loss);
    assert_true(a.gradient_norm > 0.01);
    assert_true(relative_difference(parts.trainer.gradients, whole.trainer.gradients,
                                    whole.floats) < 1e-5);
    close_bench(&whole);
    close_bench(&parts);
}

static void count_rows(void *context, size_t rows) {
    size_t *done = context; /* [1 + calls]: how many calls, then the rows of each */
    done[++done[0]] = rows;
}

static void micro_batches_tell_their_rows(void **state) {
    (void)state;
    struct bench b;
    open_bench(&b, 1, &ADAM, TINY_POSITIONS, 20);
    size_t done[21] = {0};
    struct step_options options = {.on_rows = count_rows, .context = done};
    struct step_result result;
    assert_int_equal(trainer_step(&b.trainer, &b.batch, &options, &result, NULL), STATUS_OK);
    assert_true(done[0] > 1);
    for (size_t i = 1; i <= done[0]; i++)
        assert_true(done[i] > (i > 1 ? done[i - 1] : 0));
    assert_int_equal(done[done[0]], b.batch.rows);
    close_bench(&b);
}

/* The loss after moving one tensor by `length` along its gradient (with everything else held). */
static double loss_along(struct bench *b, const struct tensor_info *info, const float *direction,
                         const float *start, double length, float dropout) {
    float *values = b->model->buffer + info->offset;
    for (size_t i = 0; i < info->count; i++)
        values[i] = (float)((double)start[info->offset + i] + length * (double)direction[i]);
    double loss = step(b, 0, dropout, 77).loss;
    memcpy(values, start + info->offset, info->count * sizeof(float));
    return loss;
}

/* backward() must see the very masks that forward() drew: the slope of the loss along each
 * tensor's gradient is the gradient's length. */
static void check_slopes(float dropout) {
    struct bench b;
    open_bench(&b, 2, &ADAM, 64, 8); /* several micro-batches */
    float *gradient = malloc(b.floats * sizeof *gradient);
    float *start = malloc(b.floats * sizeof *start);
    assert_true(gradient && start);
    step(&b, 0, dropout, 77);
    memcpy(gradient, b.trainer.gradients, b.floats * sizeof *gradient);
    memcpy(start, b.model->buffer, b.floats * sizeof *start);
    for (int t = 0; t < model_tensor_count(&b.model->config); t++) {
        struct tensor_info info;
        model_tensor(&b.model->config, t, &info);
        float *direction = gradient + info.offset;
        double length = 0;
        for (size_t i = 0; i < info.count; i++)
            length += (double)direction[i] * (double)direction[i];
        length = sqrt(length);
        assert_true(length > 1e-4);
        for (size_t i = 0; i < info.count; i++)
            direction[i] = (float)((double)direction[i] / length);
        const double h = 4e-3; /* large against fp32's rounding, small against the curvature */
        double up = loss_along(&b, &info, direction, start, h, dropout);
        double down = loss_along(&b, &info, direction, start, -h, dropout);
        double slope = (up - down) / (2 * h);
        if (!(fabs(slope - length) < 0.02 * length + 2e-4))
            fail_msg("%s: slope %g, gradient %g", info.name, slope, length);
    }
    free(gradient);
    free(start);
    close_bench(&b);
}

static void gradients_are_slopes(void **state) {
    (void)state;
    check_slopes(0);
}

static void gradients_are_slopes_under_dropout(void **state) {
    (void)state;
    check_slopes(0.3f);
}

static void dropout_changes_with_its_key(void **state) {
    (void)state;
    struct bench b;
    open_bench(&b, 2, &ADAM, 4096, 20);
    double none = step(&b, 0, 0, 1).loss, one = step(&b, 0, 0.3f, 1).loss;
    assert_true(fabs(one - none) > 1e-4);
    assert_true(one == step(&b, 0, 0.3f, 1).loss);
    assert_true(one != step(&b, 0, 0.3f, 2).loss);
    close_bench(&b);
}

static void check_repeats(const struct optimizer_options *options) {
    struct bench a, b;
    open_bench(&a, 2, options, 64, 20);
    open_bench(&b, 2, options, 64, 20);
    for (uint64_t i = 0; i < 10; i++) {
        step(&a, 1e-3f, 0.1f, i);
        step(&b, 1e-3f, 0.1f, i);
    }
    assert_memory_equal(a.model->buffer, b.model->buffer, a.floats * sizeof(float));
    close_bench(&a);
    close_bench(&b);
}

static void the_same_run_gives_the_same_bits(void **state) {
    (void)state;
    check_repeats(&ADAM);
    check_repeats(&MUON);
}

static void the_thread_count_only_changes_the_rounding(void **state) {
    (void)state;
    struct bench one, three;
    open_bench(&one, 1, &ADAM, 64, 20);
    open_bench(&three, 3, &ADAM, 64, 20);
    step(&one, 0, 0.1f, 4);
    step(&three, 0, 0.1f, 4);
    assert_true(relative_difference(three.trainer.gradients, one.trainer.gradients, one.floats) <
                1e-5);
    close_bench(&one);
    close_bench(&three);
}

static void clipping_bounds_the_gradient(void **state) {
    (void)state;
    struct bench b;
    open_bench(&b, 2, &ADAM, 4096, 20);
    struct step_options options = {.clip = 0.125f};
    struct step_result result;
    assert_int_equal(trainer_step(&b.trainer, &b.batch, &options, &result, NULL), STATUS_OK);
    assert_true(result.gradient_norm > 0.125); /* as it was before */
    double squares = 0; /* after one step the first moment is a tenth of the clipped gradient */
    for (size_t i = 0; i < b.floats; i++)
        squares += (double)b.trainer.optimizer.moment1[i] * (double)b.trainer.optimizer.moment1[i];
    assert_true(fabs(sqrt(squares) - 0.0125) < 1e-6);
    close_bench(&b);
}

static void a_number_that_is_not_finite_stops_the_run(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct bench b;
        open_bench(&b, 2, &ADAM, 64, 20);
        step(&b, 1e-3f, 0, 0);
        b.model->parameters.layers[1].linear1_weight[7] = kind ? NAN : INFINITY;
        float *before = malloc(b.floats * sizeof *before);
        assert_non_null(before);
        memcpy(before, b.model->buffer, b.floats * sizeof *before);
        struct step_options options = {.rates = {1e-3f, 1e-3f, 0}};
        struct step_result result;
        struct error err = {0};
        assert_int_equal(trainer_step(&b.trainer, &b.batch, &options, &result, &err),
                         STATUS_INVALID);
        assert_non_null(strstr(err.message, "nan: encoder.layers.1.linear1.weight is not finite"));
        assert_memory_equal(before, b.model->buffer, b.floats * sizeof *before);
        assert_int_equal(b.trainer.optimizer.steps, 1);
        free(before);
        close_bench(&b);
    }
}

static void break_number(struct bench *b, float *buffer, const char *name, const char *format) {
    struct tensor_info info;
    int i = 0;
    do
        model_tensor(&b->model->config, i++, &info); /* asserts that there is one */
    while (strcmp(info.name, name) != 0);
    buffer[info.offset + info.count - 1] = i % 2 ? NAN : -INFINITY;
    char text[160], expected[160];
    snprintf(expected, sizeof expected, format, name);
    nonfinite_describe(&b->trainer, text, sizeof text);
    assert_string_equal(text, expected);
}

/* One tensor after another breaks, each earlier than those before in the order in which breakage
 * spreads, so it is the one to be named. */
static void the_first_tensor_that_is_not_finite_is_named(void **state) {
    (void)state;
    static const char *const in_layer[] = {
        "self_attn.in_proj_bias", "self_attn.in_proj_weight", "self_attn.out_proj.bias",
        "self_attn.out_proj.weight", "norm1.bias", "norm1.weight", "linear1.bias",
        "linear1.weight", "linear2.bias", "linear2.weight", "norm2.bias", "norm2.weight"};
    static const char gradient[] = "the gradient of %s is not finite";
    enum { IN_LAYER = sizeof in_layer / sizeof *in_layer };
    char text[160];
    struct bench b;
    open_bench(&b, 1, &ADAM, 64, 2);
    const struct model_config *c = &b.model->config;
    assert_int_equal(model_tensor_count(c), 3 + c->layers * IN_LAYER);
    nonfinite_describe(&b.trainer, text, sizeof text);
    assert_string_equal(text, "all weights and gradients are finite");

    break_number(&b, b.trainer.gradients, "embedding.weight", gradient);
    for (int i = 0; i < c->layers * IN_LAYER; i++) {
        char name[96];
        snprintf(name, sizeof name, "encoder.layers.%d.%s", i / IN_LAYER, in_layer[i % IN_LAYER]);
        break_number(&b, b.trainer.gradients, name, gradient);
    }
    break_number(&b, b.trainer.gradients, "head.bias", gradient);
    break_number(&b, b.trainer.gradients, "head.weight", gradient);

    for (int i = model_tensor_count(c) - 1; i >= 0; i--) {
        struct tensor_info info;
        model_tensor(c, i, &info);
        break_number(&b, b.model->buffer, info.name, "%s is not finite");
    }
    close_bench(&b);
}

static void an_evaluation_is_the_mean_over_all_rows(void **state) {
    (void)state;
    struct bench b;
    struct evaluation e;
    open_bench(&b, 2, &ADAM, 64, 400); /* more rows than one forward pass takes */
    assert_true(b.dataset.rows > 4096);
    double loss = step(&b, 0, 0, 0).loss;
    const struct evaluated what = {.model = b.model, .pool = b.pool};
    assert_int_equal(evaluate(&what, &b.dataset, &e, NULL), STATUS_OK);
    assert_true(fabs(e.loss - loss) < 1e-5);
    assert_true(fabs(e.bits_per_byte - e.loss / log(2) / 4) < 1e-9); /* 4 bytes a row */
    assert_int_equal(e.tokens, b.dataset.rows);
    assert_int_equal(e.stories, 400);

    memset(b.model->buffer, 0, b.floats * sizeof(float)); /* knows nothing */
    assert_int_equal(evaluate(&what, &b.dataset, &e, NULL), STATUS_OK);
    assert_true(fabs(e.loss - log(TINY_VOCAB)) < 1e-6);
    close_bench(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_loss_falls_with_adam),
        cmocka_unit_test(the_loss_falls_with_muon),
        cmocka_unit_test(bf16_follows_fp32),
        cmocka_unit_test(int8_follows_fp32),
        cmocka_unit_test(bf16_repeats_bit_for_bit),
        cmocka_unit_test(int8_repeats_bit_for_bit),
        cmocka_unit_test(micro_batches_add_up_to_the_whole),
        cmocka_unit_test(micro_batches_tell_their_rows),
        cmocka_unit_test(gradients_are_slopes),
        cmocka_unit_test(gradients_are_slopes_under_dropout),
        cmocka_unit_test(dropout_changes_with_its_key),
        cmocka_unit_test(the_same_run_gives_the_same_bits),
        cmocka_unit_test(the_thread_count_only_changes_the_rounding),
        cmocka_unit_test(clipping_bounds_the_gradient),
        cmocka_unit_test(a_number_that_is_not_finite_stops_the_run),
        cmocka_unit_test(the_first_tensor_that_is_not_finite_is_named),
        cmocka_unit_test(an_evaluation_is_the_mean_over_all_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
