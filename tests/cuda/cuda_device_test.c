/* Holds training on a CUDA device against training on the CPU: the same steps on both, number by
 * number. It is linked with the kernels for a card, and with the same kernels in emulation
 * (tests/cuda/emulation/), where a card is not needed. */
#include "base/pool.h"
#include "base/rng.h"
#include "model/weights.h"
#include "tests/cuda/attention_check.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_model.h"
#include "train/evaluation.h"
#include "train/grad/teacher.h"
#include "train/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_STORIES = 16, MICRO_ROWS = 136, POSITIONS = 131, VOCAB = 61 };

static struct pool *pool;

/* ---- stories, and trainers that take steps over them ----------------------- */

struct stories {
    struct story_batch batch;
    int32_t lengths[MOST_STORIES], *inputs, *targets;
};

static struct stories stories_of(const int32_t *lengths, size_t count) {
    struct stories s = {.batch.stories = count};
    for (size_t i = 0; i < count; i++) {
        s.lengths[i] = lengths[i];
        s.batch.rows += (size_t)lengths[i];
    }
    s.inputs = calloc(s.batch.rows, sizeof *s.inputs);
    s.targets = calloc(s.batch.rows, sizeof *s.targets);
    for (size_t row = 0; row < s.batch.rows; row++) {
        s.inputs[row] = (int32_t)(rng_bits(3, row) % VOCAB);
        s.targets[row] = row % 11 == 0 ? -1 : (int32_t)((s.inputs[row] * 3 + row % 2) % VOCAB);
    }
    return s;
}

/* Some shorter than a tile of attention, some as long, some longer, more than a micro-batch. */
static struct stories some_stories(void) {
    return stories_of((const int32_t[]){5, 64, 67, 1, 17}, 5);
}

static struct story_batch batch_of(const struct stories *s) {
    struct story_batch batch = s->batch;
    batch.lengths = s->lengths;
    batch.inputs = s->inputs;
    batch.targets = s->targets;
    return batch;
}

static void stories_free(struct stories *s) {
    free(s->inputs);
    free(s->targets);
}

static struct model_config config_of(int d_model, int heads) {
    return (struct model_config){.d_model = d_model, .heads = heads, .d_ff = 40, .layers = 2,
                                 .vocab = VOCAB, .positions = POSITIONS, .norm_eps = 1e-5f,
                                 .unk_id = 0, .bos_id = 1, .eos_id = 2, .pad_id = 3};
}

static const struct optimizer_options ADAMW = {.kind = OPTIMIZER_ADAMW, .beta1 = 0.9f,
                                               .beta2 = 0.999f, .eps = 1e-4f};
static const struct optimizer_options MUON = {.kind = OPTIMIZER_MUON, .beta1 = 0.9f,
                                              .beta2 = 0.999f, .eps = 1e-4f, .momentum = 0.95f};

struct side {
    struct model *model;
    struct trainer trainer;
};

/* Fills a side in place, because a trainer stays where it was created. */
static void side_open(struct side *s, const struct model_config *config,
                      const struct optimizer_options *optimizer, enum dtype dtype,
                      const char *device) {
    struct error err = {0};
    struct trainer_options options = {.optimizer = *optimizer, .dtype = dtype,
                                      .micro_rows = MICRO_ROWS, .average = true};
    s->model = tiny_model(config, 7);
    for (size_t i = 0; i < model_buffer_floats(config); i++) /* biases and norms that matter */
        s->model->buffer[i] += (float)(0.02 * rng_normal(5, i));
    if (device_find(device, &options.device, &err) != STATUS_OK ||
        trainer_create(&s->trainer, s->model, pool, &options, &err) != STATUS_OK)
        fail_msg("%s", err.message);
}

static void side_close(struct side *s) {
    trainer_destroy(&s->trainer);
    model_destroy(s->model);
}

static struct step_result side_step(struct side *s, const struct stories *stories, uint64_t step,
                                    float dropout, struct distillation distillation) {
    struct story_batch batch = batch_of(stories);
    struct step_options options = {.rates = {0.01f, 0.003f, 0.1f},
                                   .clip = 0.7f,
                                   .dropout = dropout,
                                   .dropout_key = 100 + step,
                                   .average_share = 0.5f,
                                   .distillation = distillation};
    struct step_result result = {0};
    struct error err = {0};
    if (trainer_step(&s->trainer, &batch, &options, &result, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    if (trainer_fetch(&s->trainer, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    if (s->trainer.device)
        assert_int_equal(s->trainer.device->kind->fetch(s->trainer.device, DEVICE_GRADIENTS,
                                                        s->trainer.gradients, &err), STATUS_OK);
    return result;
}

/* ---- comparing ------------------------------------------------------------- */

/* The worst tensor's difference. A tensor whose values are all but 0, as the gradient of the keys'
 * biases is, is measured by the whole buffer. */
static double worst_difference(const struct model_config *config, const float *a, const float *b,
                               const char **name) {
    static struct tensor_info info;
    double worst = 0, whole = 0;
    size_t floats = model_buffer_floats(config);
    for (size_t i = 0; i < floats; i++)
        whole += (double)b[i] * (double)b[i] / (double)floats;
    for (int t = 0; t < model_tensor_count(config); t++) {
        double difference = 0, size = 0;
        struct tensor_info at;
        model_tensor(config, t, &at);
        for (size_t i = at.offset; i < at.offset + at.count; i++) {
            difference += pow((double)a[i] - (double)b[i], 2);
            size += (double)b[i] * (double)b[i];
        }
        double floor = 0.01 * whole * (double)at.count;
        double ratio = sqrt(difference) / sqrt(size > floor ? size : floor);
        if (!(ratio <= worst)) {
            worst = ratio;
            info = at;
            *name = info.name;
        }
    }
    return worst;
}

static void check_close(const char *what, const struct model_config *config, const float *a,
                        const float *b, double bound) {
    const char *name = "";
    double worst = worst_difference(config, a, b, &name);
    print_message("  %-24s %.2e  (bound %.0e), %s\n", what, worst, bound, name);
    assert_true(worst <= bound);
}

struct bounds {
    double loss, gradients, parameters;
};

/* Steps on the CPU in F32 and on the device: two, or in BF16, after whose first step the weights
 * are no longer the same, one. */
static void compare(const struct model_config *config, const struct optimizer_options *optimizer,
                    enum dtype dtype, float dropout, struct bounds bounds) {
    uint64_t steps = dtype == DTYPE_F32 ? 2 : 1;
    struct stories stories = some_stories();
    struct side cpu, card;
    side_open(&cpu, config, optimizer, DTYPE_F32, NULL);
    side_open(&card, config, optimizer, dtype, "cuda");
    for (uint64_t step = 0; step < steps; step++) {
        struct distillation none = {0};
        struct step_result expected = side_step(&cpu, &stories, step, dropout, none);
        struct step_result result = side_step(&card, &stories, step, dropout, none);
        print_message("  loss %.6f, %.6f on the CPU\n", result.loss, expected.loss);
        assert_true(fabs(result.loss - expected.loss) <= bounds.loss * expected.loss);
        assert_true(fabs(result.gradient_norm - expected.gradient_norm) <=
                    bounds.gradients * expected.gradient_norm);
        check_close("gradients", config, card.trainer.gradients, cpu.trainer.gradients,
                    bounds.gradients);
        check_close("parameters", config, card.model->buffer, cpu.model->buffer,
                    bounds.parameters);
        check_close("average", config, card.trainer.average, cpu.trainer.average,
                    bounds.parameters);
    }
    side_close(&cpu);
    side_close(&card);
    stories_free(&stories);
}

static const struct bounds F32_BOUNDS = {1e-5, 1e-4, 1e-4}, BF16_BOUNDS = {2e-3, 8e-2, 6e-2};

static void f32_follows_the_cpu_and_its_dropout(void **state) {
    (void)state;
    struct model_config config = config_of(24, 3);
    compare(&config, &ADAMW, DTYPE_F32, 0.2f, F32_BOUNDS);
}

static void f32_muon_follows_the_cpu(void **state) {
    (void)state;
    struct model_config config = config_of(24, 2);
    compare(&config, &MUON, DTYPE_F32, 0.1f, (struct bounds){1e-5, 2e-4, 1e-3});
}

static void bf16_follows_the_cpu(void **state) {
    (void)state;
    struct model_config config = config_of(48, 2);
    compare(&config, &ADAMW, DTYPE_BF16, 0.2f, BF16_BOUNDS);
}

/* Heads whose rows do not begin at multiples of 16 bytes, as mini's do not. */
static void bf16_takes_heads_of_any_width(void **state) {
    (void)state;
    struct model_config even = config_of(16, 8), odd = config_of(24, 8), wide = config_of(64, 1);
    compare(&even, &ADAMW, DTYPE_BF16, 0.1f, BF16_BOUNDS);
    compare(&odd, &ADAMW, DTYPE_BF16, 0.1f, BF16_BOUNDS);
    compare(&wide, &ADAMW, DTYPE_BF16, 0.1f, BF16_BOUNDS);
}

static void bf16_muon_follows_the_cpu(void **state) {
    (void)state;
    struct model_config config = config_of(24, 2);
    compare(&config, &MUON, DTYPE_BF16, 0.1f, (struct bounds){2e-3, 8e-2, 1e-1});
}

/* ---- teachers and evaluation ------------------------------------------------ */

static void save_teacher(const char *name, const struct model_config *config, uint64_t seed) {
    char file[64];
    struct model *model = tiny_model(config, seed);
    assert_int_equal(weights_save(scratch_path(&scratch, name), name, model, SAFETENSORS_F32, NULL),
                     STATUS_OK);
    snprintf(file, sizeof file, "%s/tokenizer.model", name);
    scratch_write_text(&scratch, file, "pieces");
    model_destroy(model);
}

static void teachers_are_followed_as_on_the_cpu(void **state) {
    (void)state;
    struct model_config config = config_of(24, 2), wide = config_of(32, 1);
    struct stories stories = some_stories();
    struct side cpu, card;
    struct teacher *teacher;
    char folders[1200];
    save_teacher("one", &config, 1);
    save_teacher("two", &wide, 2);
    snprintf(folders, sizeof folders, "%s,%s", scratch_path(&scratch, "one"),
             scratch_path(&scratch, "two"));
    struct teacher_options options = {
        folders, scratch_write_text(&scratch, "tokenizer.model", "pieces"), &config, DTYPE_F32,
        MICRO_ROWS};
    assert_int_equal(teacher_open(&teacher, &options, pool, NULL), STATUS_OK);
    side_open(&cpu, &config, &ADAMW, DTYPE_F32, NULL);
    side_open(&card, &config, &ADAMW, DTYPE_F32, "cuda");
    assert_int_equal(trainer_set_teacher(&card.trainer, teacher, NULL), STATUS_OK);
    struct distillation distillation = {teacher, 0.6f};
    struct step_result expected = side_step(&cpu, &stories, 0, 0.1f, distillation);
    struct step_result result = side_step(&card, &stories, 0, 0.1f, distillation);
    assert_true(fabs(result.loss - expected.loss) < 1e-5 * expected.loss);
    check_close("gradients", &config, card.trainer.gradients, cpu.trainer.gradients, 1e-4);
    teacher_close(teacher);
    side_close(&cpu);
    side_close(&card);
    stories_free(&stories);
}

static double loss_of(const struct side *s, struct device *device, const struct dataset *dataset,
                      bool unmasked) {
    const struct evaluated what = {s->model, pool, device, unmasked};
    struct evaluation evaluation;
    assert_int_equal(evaluate(&what, dataset, &evaluation, NULL), STATUS_OK);
    return evaluation.loss;
}

static void an_evaluation_is_the_cpus(void **state) {
    (void)state;
    struct model_config config = config_of(24, 2);
    struct dataset dataset = tiny_dataset(20, 5); /* more than one batch */
    struct side card;
    side_open(&card, &config, &ADAMW, DTYPE_F32, "cuda");
    struct device *device = card.trainer.device;
    for (int unmasked = 0; unmasked < 2; unmasked++)
        assert_true(fabs(loss_of(&card, device, &dataset, unmasked) -
                         loss_of(&card, NULL, &dataset, unmasked)) < 1e-5);
    side_close(&card);
    dataset_free(&dataset);
}

/* ---- the same bits ---------------------------------------------------------- */

/* What is left after some steps, the first of which may come out of a checkpoint. */
static float *state_after(const struct model_config *config, enum dtype dtype, bool interrupted,
                          size_t *count) {
    struct stories stories = some_stories();
    struct distillation none = {0};
    struct side first, second, *s = &first;
    side_open(&first, config, &MUON, dtype, "cuda");
    (void)side_step(&first, &stories, 0, 0.1f, none);
    if (interrupted) { /* as checkpoint_save() and checkpoint_load() do */
        struct state_buffer from[TRAINER_STATE_MAX], to[TRAINER_STATE_MAX];
        side_open(&second, config, &MUON, dtype, "cuda");
        int buffers = trainer_state(&first.trainer, from);
        trainer_state(&second.trainer, to);
        for (int i = 0; i < buffers; i++)
            memcpy(to[i].values, from[i].values, from[i].count * sizeof(float));
        second.trainer.optimizer.steps = first.trainer.optimizer.steps;
        assert_int_equal(trainer_refresh(&second.trainer, NULL), STATUS_OK);
        s = &second;
    }
    (void)side_step(s, &stories, 1, 0.1f, none);
    size_t floats = model_buffer_floats(config);
    float *kept = malloc(4 * floats * sizeof *kept);
    memcpy(kept, s->model->buffer, floats * sizeof *kept);
    memcpy(kept + floats, s->trainer.optimizer.moment1, floats * sizeof *kept);
    memcpy(kept + 2 * floats, s->trainer.optimizer.moment2, floats * sizeof *kept);
    memcpy(kept + 3 * floats, s->trainer.average, floats * sizeof *kept);
    *count = 4 * floats;
    if (interrupted)
        side_close(&second);
    side_close(&first);
    stories_free(&stories);
    return kept;
}

/* Whether it is interrupted or not, and in whatever order threads get their turns. */
static void a_run_repeats_bit_for_bit(void **state) {
    (void)state;
    struct model_config config = config_of(16, 2);
    size_t count;
    float *whole = state_after(&config, DTYPE_BF16, false, &count);
    device_turns_backwards(true);
    float *resumed = state_after(&config, DTYPE_BF16, true, &count);
    device_turns_backwards(false);
    assert_memory_equal(whole, resumed, count * sizeof(float));
    free(whole);
    free(resumed);
}

static void weights_and_average_change_places(void **state) {
    (void)state;
    struct model_config config = config_of(16, 2);
    size_t floats = model_buffer_floats(&config);
    struct stories stories = some_stories();
    struct distillation none = {0};
    struct side card;
    side_open(&card, &config, &ADAMW, DTYPE_BF16, "cuda");
    (void)side_step(&card, &stories, 0, 0, none);
    float *weights = malloc(floats * sizeof *weights);
    memcpy(weights, card.model->buffer, floats * sizeof *weights);
    trainer_swap_average(&card.trainer);
    assert_int_equal(trainer_fetch_weights(&card.trainer, NULL), STATUS_OK);
    assert_memory_not_equal(card.model->buffer, weights, floats * sizeof *weights);
    assert_int_equal(trainer_fetch(&card.trainer, NULL), STATUS_OK);
    assert_memory_equal(card.trainer.average, weights, floats * sizeof *weights);
    assert_memory_not_equal(card.model->buffer, weights, floats * sizeof *weights);
    free(weights);
    side_close(&card);
    stories_free(&stories);
}

static void what_a_device_cannot_run_is_refused(void **state) {
    (void)state;
    const struct {
        int d_model, heads;
        enum dtype dtype;
        const char *text;
    } cases[] = {{20, 2, DTYPE_F32, "multiples of 8"},
                 {128, 1, DTYPE_F32, "at most 64 columns, not 128"},
                 {1032, 43, DTYPE_F32, "at most 1024, not 1032"},
                 {16, 2, DTYPE_INT8, "int8"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model_config config = config_of(cases[i].d_model, cases[i].heads);
        const struct device_kind *kind;
        struct device *device;
        struct error err = {0};
        struct device_options options = {
            .config = &config, .dtype = cases[i].dtype, .max_rows = MICRO_ROWS};
        assert_int_equal(device_find("cuda", &kind, NULL), STATUS_OK);
        assert_int_equal(kind->open(&device, &options, &err), STATUS_UNSUPPORTED);
        assert_non_null(strstr(err.message, cases[i].text));
        assert_null(device);
    }
}

/* ---- attention alone -------------------------------------------------------- */

static void check_attention(int d_model, int heads, float dropout, bool unmasked) {
    static const int lengths[] = {64, 3, 130, 1, 65};
    const struct attention_case what = {lengths, 5, d_model, heads, dropout, unmasked};
    struct attention_differences d = attention_check(&what);
    print_message("  %d by %d: out %.1e, logsumexp %.1e, dq %.1e, dk %.1e, dv %.1e\n", d_model,
                  heads, d.out, d.logsumexp, d.dq, d.dk, d.dv);
    assert_true(d.out < 1e-2 && d.logsumexp < 1e-5);
    assert_true(d.dq < 1e-2 && d.dk < 1e-2 && d.dv < 1e-2);
}

static void attention_in_bf16_is_that_in_f32(void **state) {
    (void)state;
    check_attention(64, 1, 0, false);
    check_attention(54, 1, 0.2f, false);
    check_attention(24, 8, 0.2f, false);
    check_attention(16, 1, 0, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_in_bf16_is_that_in_f32),
        cmocka_unit_test(f32_follows_the_cpu_and_its_dropout),
        cmocka_unit_test(f32_muon_follows_the_cpu),
        cmocka_unit_test(bf16_follows_the_cpu),
        cmocka_unit_test(bf16_takes_heads_of_any_width),
        cmocka_unit_test(bf16_muon_follows_the_cpu),
        SCRATCH_TEST(teachers_are_followed_as_on_the_cpu),
        cmocka_unit_test(an_evaluation_is_the_cpus),
        cmocka_unit_test(a_run_repeats_bit_for_bit),
        cmocka_unit_test(weights_and_average_change_places),
        cmocka_unit_test(what_a_device_cannot_run_is_refused),
    };
    if (pool_create(&pool, 2, NULL) != STATUS_OK)
        return 1;
    int failed = cmocka_run_group_tests_name("cuda_device", tests, NULL, NULL);
    pool_destroy(pool);
    return failed;
}
