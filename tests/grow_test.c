/* A large model that begins as smaller ones: it predicts what they predict, and can learn. */
#include "tests/support/tiny_model.h"
#include "train/grow.h"
#include "train/trainer.h"

#include "base/pool.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SOURCES = 2, STORIES = 30 };

static struct pool *pool;
static struct dataset dataset;
static struct story_batch stories;
static struct batch batch;
static struct model *sources[SOURCES];

static const struct model *const *read_sources(void) {
    return (const struct model *const *)sources;
}

/* Two models that have learned a little, so that no tensor is what it began as. */
static struct model *trained_model(uint64_t seed) {
    struct model_config config = tiny_config();
    struct model *model = tiny_model(&config, seed);
    struct trainer trainer;
    struct trainer_options options = {
        .optimizer = {.kind = OPTIMIZER_ADAM, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f},
        .micro_rows = 64};
    struct step_options step = {.rates = {3e-3f, 3e-3f, 0}};
    struct step_result result;
    assert_int_equal(trainer_create(&trainer, model, pool, &options, NULL), STATUS_OK);
    for (int i = 0; i < 60; i++)
        assert_int_equal(trainer_step(&trainer, &stories, &step, &result, NULL), STATUS_OK);
    trainer_destroy(&trainer);
    return model;
}

static int setup(void **state) {
    (void)state;
    static struct span spans[STORIES];
    dataset = tiny_dataset(STORIES, 5);
    stories = tiny_batch(&dataset);
    for (size_t i = 0; i < STORIES; i++)
        spans[i] = (struct span){.rows = stories.lengths[i]};
    batch = (struct batch){.ids = stories.inputs, .rows = (int)stories.rows, .spans = spans,
                           .span_count = STORIES};
    if (pool_create(&pool, 2, NULL) != STATUS_OK)
        return 1;
    for (uint64_t i = 0; i < SOURCES; i++)
        sources[i] = trained_model(7 + i);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (int i = 0; i < SOURCES; i++)
        model_destroy(sources[i]);
    tiny_batch_free(&stories);
    dataset_free(&dataset);
    pool_destroy(pool);
    return 0;
}

/* Logits of the whole batch, [rows, vocab]; for the caller to free. */
static float *logits_of(const struct model *model) {
    struct activations a;
    float *logits = calloc((size_t)batch.rows * TINY_VOCAB, sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(activations_create(&a, &model->config, batch.rows, false, 2, NULL),
                     STATUS_OK);
    const struct forward_context context = {model, pool, &a};
    forward(&context, &batch);
    forward_logits_range(&context, 0, batch.rows, logits);
    activations_destroy(&a);
    return logits;
}

/* How far the logits of a model grown from `count` sources are from the sources' mean. */
static double distance(const struct model_config *config, int count) {
    size_t size = (size_t)batch.rows * TINY_VOCAB;
    struct model *model = tiny_model(config, 3);
    assert_int_equal(grow(model, read_sources(), count, 9, NULL), STATUS_OK);
    assert_int_equal(grow_calibrate(model, read_sources(), count, &batch, pool, NULL), STATUS_OK);
    float *have = logits_of(model), *mean = calloc(size, sizeof *mean);
    assert_non_null(mean);
    for (int i = 0; i < count; i++) {
        float *logits = logits_of(sources[i]);
        for (size_t j = 0; j < size; j++)
            mean[j] += logits[j] / (float)count;
        free(logits);
    }
    double difference = relative_difference(have, mean, size);
    free(have);
    free(mean);
    model_destroy(model);
    return difference;
}

static void one_of_the_same_size_is_the_same(void **state) {
    (void)state;
    struct model_config config = tiny_config();
    assert_true(distance(&config, 1) < 1e-5);
}

/* Waves of a source that has no neighbor of the same length are a little off, and norms are right
 * on the mean only; a model with random weights is more than 1 away. */
static void two_side_by_side_give_their_mean(void **state) {
    (void)state;
    struct model_config config = tiny_config();
    config.d_model *= 2;
    config.heads *= 2;
    config.d_ff *= 2;
    assert_true(distance(&config, 2) < 0.35);
}

static void more_of_everything_gives_their_mean(void **state) {
    (void)state;
    struct model_config config = tiny_config();
    config.heads = 2 * config.heads;
    config.d_model = 12 * config.heads; /* heads become wider, and 16 dimensions are left */
    config.d_ff = 2 * config.d_ff + 7;
    config.layers = 5;
    assert_true(distance(&config, 2) < 0.35);
}

static void it_goes_on_learning(void **state) {
    (void)state;
    struct model_config config = tiny_config();
    config.heads = 2 * config.heads;
    config.d_model = 12 * config.heads;
    config.d_ff = 2 * config.d_ff + 7;
    config.layers = 4;
    struct model *model = tiny_model(&config, 3);
    assert_int_equal(grow(model, read_sources(), 2, 9, NULL), STATUS_OK);
    struct trainer trainer;
    struct trainer_options options = {
        .optimizer = {.kind = OPTIMIZER_MUON, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f,
                      .momentum = 0.9f},
        .micro_rows = 64};
    struct step_options step = {.rates = {1e-2f, 1e-3f, 0}};
    struct step_result result;
    assert_int_equal(trainer_create(&trainer, model, pool, &options, NULL), STATUS_OK);
    float *before = calloc(model_buffer_floats(&config), sizeof *before);
    assert_non_null(before);
    memcpy(before, model->buffer, model_buffer_floats(&config) * sizeof *before);
    assert_int_equal(trainer_step(&trainer, &stories, &step, &result, NULL), STATUS_OK);
    double first = result.loss;
    for (int i = 0; i < 40; i++)
        assert_int_equal(trainer_step(&trainer, &stories, &step, &result, NULL), STATUS_OK);
    assert_true(result.loss < first - 0.1);
    for (int i = 0; i < model_tensor_count(&config); i++) { /* no row of a matrix is cut off */
        struct tensor_info info;
        model_tensor(&config, i, &info);
        for (size_t row = 0; info.layer >= 0 && info.rank == 2 && row < info.rows; row++)
            if (memcmp(before + info.offset + row * info.columns,
                       model->buffer + info.offset + row * info.columns,
                       info.columns * sizeof(float)) == 0)
                fail_msg("row %zu of %s never learns", row, info.name);
    }
    free(before);
    trainer_destroy(&trainer);
    model_destroy(model);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    struct model_config fits = tiny_config();
    fits.d_model *= 2;
    fits.heads *= 2;
    fits.d_ff *= 2;
    struct model_config wrong[] = {fits, fits, fits, fits, fits};
    wrong[0].d_model = 24;
    wrong[0].heads = 3;
    wrong[1].heads = 2; /* wide ones, but too few */
    wrong[2].d_ff -= 1;
    wrong[3].layers = 1;
    wrong[4].vocab += 1;
    struct error err;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct model *model = tiny_model(&wrong[i], 3);
        assert_int_equal(grow(model, read_sources(), 2, 9, &err), STATUS_INVALID);
        assert_non_null(strstr(err.message, i < 3 ? "too large together" : "does not fit"));
        model_destroy(model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_of_the_same_size_is_the_same),
        cmocka_unit_test(two_side_by_side_give_their_mean),
        cmocka_unit_test(more_of_everything_gives_their_mean),
        cmocka_unit_test(it_goes_on_learning),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
