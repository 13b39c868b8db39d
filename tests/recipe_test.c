/* What a recipe may add: a teacher, averaged weights, rows that nothing is learned from. */
#include "tests/support/scratch.h"
#include "tests/support/tiny_model.h"
#include "train/trainer.h"

#include "base/pool.h"
#include "model/kernels/bf16.h"
#include "model/weights.h"
#include "train/grad/teacher.h"
#include "train/optim/weight_average.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct pool *pool;
static struct model *model;
static struct dataset dataset;
static struct story_batch batch;
static size_t floats;

static int setup(void **state) {
    (void)state;
    struct model_config config = tiny_config();
    scratch_open(&scratch);
    model = tiny_model(&config, 11);
    dataset = tiny_dataset(20, 5);
    batch = tiny_batch(&dataset);
    floats = model_buffer_floats(&config);
    return pool_create(&pool, 2, NULL) == STATUS_OK ? 0 : 1;
}

static int teardown(void **state) {
    (void)state;
    model_destroy(model);
    tiny_batch_free(&batch);
    dataset_free(&dataset);
    pool_destroy(pool);
    scratch_close(&scratch);
    return 0;
}

static void open_trainer(struct trainer *trainer, bool average) {
    struct trainer_options options = {
        .optimizer = {.kind = OPTIMIZER_ADAM, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f},
        .micro_rows = 64,
        .average = average};
    assert_int_equal(trainer_create(trainer, model, pool, &options, NULL), STATUS_OK);
}

static struct step_result take(struct trainer *trainer, const struct step_options *options) {
    struct step_result result;
    struct error err = {0};
    if (trainer_step(trainer, &batch, options, &result, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return result;
}

static float *copy_of(const float *values, size_t count) {
    float *copy = malloc(count * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, values, count * sizeof *copy);
    return copy;
}

/* The gradients of one step at rate 0. */
static float *gradients_of(struct trainer *trainer, const struct step_options *options) {
    (void)take(trainer, options);
    return copy_of(trainer->gradients, floats);
}

/* ---- teachers ------------------------------------------------------------- */

static const char *save_teacher(const char *name, const struct model *weights, const char *pieces) {
    char file[128];
    const char *folder = scratch_path(&scratch, name);
    assert_int_equal(weights_save(folder, name, weights, SAFETENSORS_F32, NULL), STATUS_OK);
    snprintf(file, sizeof file, "%s/tokenizer.model", name);
    scratch_write_text(&scratch, file, pieces);
    return folder;
}

static enum status open_teacher(struct teacher **teacher, const char *folders, enum dtype dtype,
                                struct error *err) {
    const char *tokenizer = scratch_write_text(&scratch, "tokenizer.model", "pieces");
    struct teacher_options options = {folders, tokenizer, &model->config, dtype, 64};
    return teacher_open(teacher, &options, pool, err);
}

/* A teacher that predicts what the student predicts takes its weight off the gradient. */
static void a_teacher_is_part_of_the_target(void **state) {
    (void)state;
    struct teacher *teacher;
    struct trainer trainer;
    struct error err = {0};
    const char *folder = save_teacher("same", model, "pieces");
    if (open_teacher(&teacher, folder, DTYPE_F32, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    open_trainer(&trainer, false);
    struct step_options options = {0};
    float *plain = gradients_of(&trainer, &options);
    options.distillation = (struct distillation){teacher, 0.25f};
    float *mixed = gradients_of(&trainer, &options);
    options.distillation.weight = 1;
    double norm = take(&trainer, &options).gradient_norm;
    for (size_t i = 0; i < floats; i++)
        plain[i] *= 0.75f;
    assert_true(relative_difference(mixed, plain, floats) < 1e-4);
    assert_true(norm < 1e-6);
    free(plain);
    free(mixed);
    trainer_destroy(&trainer);
    teacher_close(teacher);
}

static void several_teachers_are_averaged(void **state) {
    (void)state;
    struct model_config config = tiny_config();
    struct model *others[2] = {tiny_model(&config, 1), tiny_model(&config, 2)};
    char both[2300];
    const char *folders[2] = {save_teacher("one", others[0], "pieces"),
                              save_teacher("two", others[1], "pieces")};
    snprintf(both, sizeof both, "%s,%s", folders[0], folders[1]);
    struct teacher *teacher[3];
    assert_int_equal(open_teacher(&teacher[0], folders[0], DTYPE_F32, NULL), STATUS_OK);
    assert_int_equal(open_teacher(&teacher[1], folders[1], DTYPE_F32, NULL), STATUS_OK);
    assert_int_equal(open_teacher(&teacher[2], both, DTYPE_F32, NULL), STATUS_OK);
    assert_true(teacher_hash(teacher[0]) != teacher_hash(teacher[1]));
    assert_true(teacher_hash(teacher[0]) != teacher_hash(teacher[2]));
    struct span span = {.rows = 9};
    struct batch rows = {.ids = batch.inputs, .rows = 9, .spans = &span, .span_count = 1};
    const float *p[3];
    for (int i = 0; i < 3; i++) {
        teacher_run(teacher[i], pool, &rows);
        p[i] = teacher_probabilities(teacher[i], pool, 2, 7);
    }
    double sum = 0;
    for (size_t i = 0; i < 7 * TINY_VOCAB; i++) {
        assert_true(fabsf(p[2][i] - (p[0][i] + p[1][i]) / 2) < 1e-6f);
        sum += (double)p[2][i];
    }
    assert_true(fabs(sum - 7) < 1e-4);
    for (int i = 0; i < 3; i++)
        teacher_close(teacher[i]);
    model_destroy(others[0]);
    model_destroy(others[1]);
}

/* In every dtype that its student is trained in. */
static void teachers_in_low_precision_predict_nearly_the_same(void **state) {
    (void)state;
    if (!bf16_available())
        skip();
    static const double tolerances[] = {[DTYPE_BF16] = 0.01, [DTYPE_INT8] = 0.02};
    const char *folder = save_teacher("same", model, "pieces");
    struct span span = {.rows = 9};
    struct batch rows = {.ids = batch.inputs, .rows = 9, .spans = &span, .span_count = 1};
    struct teacher *exact, *rounded;
    assert_int_equal(open_teacher(&exact, folder, DTYPE_F32, NULL), STATUS_OK);
    teacher_run(exact, pool, &rows);
    const float *expected = teacher_probabilities(exact, pool, 0, 9);
    for (enum dtype dtype = DTYPE_BF16; dtype <= DTYPE_INT8; dtype++) {
        assert_int_equal(open_teacher(&rounded, folder, dtype, NULL), STATUS_OK);
        teacher_run(rounded, pool, &rows);
        const float *got = teacher_probabilities(rounded, pool, 0, 9);
        double difference = relative_difference(got, expected, 9 * TINY_VOCAB);
        assert_true(difference > 0 && difference < tolerances[dtype]);
        teacher_close(rounded);
    }
    teacher_close(exact);
}

static void refuse(const char *folders, const char *words) {
    struct teacher *teacher;
    struct error err = {0};
    assert_int_not_equal(open_teacher(&teacher, folders, DTYPE_F32, &err), STATUS_OK);
    assert_null(teacher);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
}

static void unfit_teachers_are_refused(void **state) {
    (void)state;
    struct model_config config = tiny_config();
    config.vocab++;
    struct model *other = tiny_model(&config, 1);
    refuse(save_teacher("other-vocab", other, "pieces"), "30 pieces");
    refuse(save_teacher("other-pieces", model, "letters"), "not the tokenizer");
    refuse(scratch_path(&scratch, "nowhere"), "nowhere");
    refuse(",", "--teacher is a list with commas");
    model_destroy(other);
}

/* ---- averages ------------------------------------------------------------- */

static void the_average_follows_the_weights(void **state) {
    (void)state;
    struct trainer trainer;
    open_trainer(&trainer, true);
    struct weight_average plan = {.first = 1, .decay = 0.9} /* young: a plain mean */;
    double *sum = calloc(floats, sizeof *sum);
    assert_non_null(sum);
    for (uint64_t step = 0; step < 4; step++) {
        struct step_options options = {.rates = {0.01f, 0.01f, 0},
                                       .average_share = (float)weight_average_share(&plan, step)};
        (void)take(&trainer, &options);
        for (size_t i = 0; step >= 1 && i < floats; i++)
            sum[i] += (double)model->buffer[i];
    }
    for (size_t i = 0; i < floats; i++)
        assert_true(fabs((double)trainer.average[i] - sum[i] / 3) < 1e-6);
    float *newest = copy_of(model->buffer, floats), *average = copy_of(trainer.average, floats);
    assert_true(relative_difference(newest, average, floats) > 1e-3);
    trainer_swap_average(&trainer);
    assert_memory_equal(model->buffer, average, floats * sizeof(float));
    trainer_swap_average(&trainer);
    assert_memory_equal(model->buffer, newest, floats * sizeof(float));
    assert_memory_equal(trainer.average, average, floats * sizeof(float));
    free(sum);
    free(newest);
    free(average);
    trainer_destroy(&trainer);
}

/* ---- targets of -1 -------------------------------------------------------- */

/* The mean over all rows is that over some and that over the others, each by its share. */
static void rows_without_a_target_do_not_count(void **state) {
    (void)state;
    struct trainer trainer;
    open_trainer(&trainer, false);
    struct step_options options = {0};
    int32_t *targets = malloc(batch.rows * sizeof *targets);
    const int32_t *all_targets = batch.targets;
    assert_non_null(targets);
    double all = take(&trainer, &options).loss, parts = 0;
    float *expected = copy_of(trainer.gradients, floats), *sum = calloc(floats, sizeof *sum);
    assert_non_null(sum);
    for (size_t part = 0; part < 2; part++) {
        size_t count = 0;
        for (size_t row = 0; row < batch.rows; row++) {
            bool learned = (row % 5 == 0) == (part == 0);
            targets[row] = learned ? all_targets[row] : -1;
            count += learned;
        }
        double share = (double)count / (double)batch.rows;
        batch.targets = targets;
        parts += share * take(&trainer, &options).loss;
        batch.targets = all_targets;
        for (size_t i = 0; i < floats; i++)
            sum[i] += (float)share * trainer.gradients[i];
    }
    assert_true(fabs(all - parts) < 1e-6 * all);
    assert_true(relative_difference(sum, expected, floats) < 1e-5);
    free(targets);
    free(expected);
    free(sum);
    trainer_destroy(&trainer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_teacher_is_part_of_the_target, setup, teardown),
        cmocka_unit_test_setup_teardown(several_teachers_are_averaged, setup, teardown),
        cmocka_unit_test_setup_teardown(teachers_in_low_precision_predict_nearly_the_same, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(unfit_teachers_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(the_average_follows_the_weights, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_without_a_target_do_not_count, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
