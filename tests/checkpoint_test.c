/* Checkpoints: all that a run needs comes back, and nothing broken or foreign gets in. */
#include "tests/support/scratch.h"
#include "tests/support/tiny_model.h"
#include "train/checkpoint.h"

#include "base/buffer.h"
#include "base/file.h"
#include "base/pool.h"
#include "model/safetensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>

#include <cmocka.h>

static struct pool *pool;
static struct model *model;
static struct trainer trainer;

static const struct progress PROGRESS = {
    .step = 12, .tokens = UINT64_MAX - 1, .seconds = 0.1 + 0.2, .data = {3, 4, 5, 6},
    .best_loss = 1.0 / 3, .best_step = 9,
};

#define KEPT "tokenizer=1 valid=2 dtype=bf16"
#define HOW "threads=2 micro-tokens=2048"
static const struct run_identity SOME = {"some recipe", KEPT, HOW};

static int setup(void **state) {
    (void)state;
    struct model_config config = tiny_config();
    struct trainer_options options = {
        .optimizer = {.kind = OPTIMIZER_MUON, .beta1 = 0.9f, .beta2 = 0.99f}, .micro_rows = 64};
    scratch_open(&scratch);
    model = tiny_model(&config, 3);
    if (pool_create(&pool, 1, NULL) != STATUS_OK ||
        trainer_create(&trainer, model, pool, &options, NULL) != STATUS_OK)
        return 1;
    struct state_buffer buffers[TRAINER_STATE_MAX];
    int count = trainer_state(&trainer, buffers);
    for (int b = 0; b < count; b++)
        for (size_t i = 0; i < buffers[b].count; i++)
            buffers[b].values[i] = (float)b + (float)i / 7;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    trainer_destroy(&trainer);
    model_destroy(model);
    pool_destroy(pool);
    scratch_close(&scratch);
    return 0;
}

/* Every state buffer one after another, for comparisons. */
static struct buffer snapshot(void) {
    struct buffer bytes = {0};
    struct state_buffer buffers[TRAINER_STATE_MAX];
    int count = trainer_state(&trainer, buffers);
    assert_true(count >= 3);
    for (int b = 0; b < count; b++)
        buffer_append(&bytes, buffers[b].values, buffers[b].count * sizeof(float));
    assert_false(bytes.failed);
    return bytes;
}

static void forget(void) {
    struct state_buffer buffers[TRAINER_STATE_MAX];
    int count = trainer_state(&trainer, buffers);
    for (int b = 0; b < count; b++)
        memset(buffers[b].values, 0, buffers[b].count * sizeof(float));
    trainer.optimizer.steps = 0;
}

static const char *save(const char *recipe) {
    struct error err = {0};
    const char *path = scratch_path(&scratch, "checkpoint.safetensors");
    const struct run_identity identity = {recipe, KEPT, HOW};
    if (checkpoint_save(path, &trainer, &PROGRESS, &identity, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return path;
}

static void everything_comes_back(void **state) {
    (void)state;
    struct progress progress = {0};
    struct buffer before = snapshot();
    const char *path = save(SOME.recipe);
    forget();
    assert_int_equal(checkpoint_load(path, &trainer, &progress, &SOME, NULL, NULL), STATUS_OK);
    struct buffer after = snapshot();
    assert_int_equal(before.size, after.size);
    assert_memory_equal(before.data, after.data, before.size);
    assert_int_equal(trainer.optimizer.steps, 12);
    assert_int_equal(progress.step, 12);
    assert_true(progress.tokens == UINT64_MAX - 1);
    assert_true(progress.seconds == 0.1 + 0.2);
    assert_int_equal(progress.data.epoch, 3);
    assert_int_equal(progress.data.index, 4);
    assert_int_equal(progress.data.mix_epoch, 5);
    assert_int_equal(progress.data.mix_index, 6);
    assert_true(progress.best_loss == 1.0 / 3);
    assert_int_equal(progress.best_step, 9);
    buffer_free(&before);
    buffer_free(&after);
}

static void no_validation_yet_is_infinity(void **state) {
    (void)state;
    struct progress progress = {.best_loss = INFINITY}, back = {0};
    const char *path = scratch_path(&scratch, "c");
    assert_int_equal(checkpoint_save(path, &trainer, &progress, &SOME, NULL), STATUS_OK);
    assert_int_equal(checkpoint_load(path, &trainer, &back, &SOME, NULL, NULL), STATUS_OK);
    assert_true(isinf(back.best_loss) && back.best_loss > 0);
}

/* Loading fails with this status, says `words`, and changes nothing. */
static void refused(const char *path, const char *recipe, enum status expected, const char *words) {
    struct error err = {0};
    struct progress progress = {.step = 77};
    struct buffer before = snapshot();
    uint64_t steps = trainer.optimizer.steps;
    const struct run_identity identity = {recipe, KEPT, HOW};
    assert_int_equal(checkpoint_load(path, &trainer, &progress, &identity, NULL, &err), expected);
    struct buffer after = snapshot();
    assert_memory_equal(before.data, after.data, before.size);
    assert_int_equal(progress.step, 77);
    assert_int_equal(trainer.optimizer.steps, steps);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
    buffer_free(&before);
    buffer_free(&after);
}

static void another_recipe_is_refused(void **state) {
    (void)state;
    char recipe[20000]; /* longer than any buffer one might think enough */
    memset(recipe, 'r', sizeof recipe - 1);
    recipe[sizeof recipe - 1] = '\0';
    const char *path = save(recipe);
    struct progress progress;
    const struct run_identity same = {recipe, KEPT, HOW};
    assert_int_equal(checkpoint_load(path, &trainer, &progress, &same, NULL, NULL), STATUS_OK);
    recipe[sizeof recipe - 2] = 's';
    refused(path, recipe, STATUS_INVALID, "other settings");
    refused(path, "", STATUS_INVALID, "--fresh");
}

static void what_differs_is_named(void **state) {
    (void)state;
    const struct run_identity saved = {"lr=0.1 crop=0.4 data=0a seed=2", KEPT, HOW};
    static const struct {
        const char *recipe, *kept, *words;
    } cases[] = {
        {"lr=0.1 crop=0.4 data=0a seed=12", KEPT, "data: --seed 2 (now 12);"},
        {"lr=0.2 data=0b seed=2", KEPT,
         "data: --lr 0.1 (now 0.2), --crop 0.4 (now none), --train (other content);"},
        {"lr=0.1 crop=0.4 layers=2 data=0a seed=2", KEPT, "data: --layers none (now 2);"},
        {"lr=0.1 crop=0.4 data=0a seed=2", "tokenizer=1 valid=3 dtype=f32",
         "data: --valid (other content), --dtype bf16 (now f32);"},
    };
    struct progress progress = PROGRESS;
    const char *path = scratch_path(&scratch, "named");
    assert_int_equal(checkpoint_save(path, &trainer, &progress, &saved, NULL), STATUS_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        const struct run_identity now = {cases[i].recipe, cases[i].kept, HOW};
        assert_int_equal(checkpoint_load(path, &trainer, &progress, &now, NULL, &err),
                         STATUS_INVALID);
        if (!strstr(err.message, cases[i].words))
            fail_msg("\"%s\" does not say \"%s\"", err.message, cases[i].words);
    }
    /* Nothing has been chosen yet, so it may be chosen by other stories. */
    progress.best_step = 0;
    assert_int_equal(checkpoint_save(path, &trainer, &progress, &saved, NULL), STATUS_OK);
    const struct run_identity now = {saved.recipe, cases[3].kept, HOW};
    assert_int_equal(checkpoint_load(path, &trainer, &progress, &now, NULL, NULL), STATUS_OK);
}

static void how_it_is_computed_may_change_and_is_said(void **state) {
    (void)state;
    struct progress progress;
    struct buffer changes = {0};
    const char *path = save(SOME.recipe);
    assert_int_equal(checkpoint_load(path, &trainer, &progress, &SOME, &changes, NULL), STATUS_OK);
    assert_int_equal(changes.size, 0);
    const struct run_identity now = {SOME.recipe, KEPT, "threads=12 micro-tokens=2048"};
    assert_int_equal(checkpoint_load(path, &trainer, &progress, &now, &changes, NULL), STATUS_OK);
    assert_string_equal(changes.data, "--threads 2 (now 12)");
    buffer_free(&changes);
}

static void a_missing_file_is_not_found(void **state) {
    (void)state;
    refused(scratch_path(&scratch, "none"), "r", STATUS_NOT_FOUND, "none");
}

static void a_truncated_file_is_refused(void **state) {
    (void)state;
    struct buffer whole = {0};
    const char *path = save("r");
    assert_int_equal(file_read(path, (size_t)1 << 30, &whole, NULL), STATUS_OK);
    const size_t sizes[] = {0, 1, 7, 8, 9, 100, 500, whole.size / 2, whole.size - 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        refused(scratch_write(&scratch, "cut", whole.data, sizes[i]), "r", STATUS_CORRUPT, "cut");
    buffer_append(&whole, "x", 1);
    refused(scratch_write(&scratch, "cut", whole.data, whole.size), "r", STATUS_CORRUPT, "cut");
    buffer_free(&whole);
}

static void a_foreign_file_is_refused(void **state) {
    (void)state;
    float value = 1;
    struct safetensors_output tensor = {"parameters", SAFETENSORS_F32, 1, {1}, &value};
    struct safetensors_text recipe = {(char[]){"recipe"}, (char[]){"r"}};
    const char *path = scratch_path(&scratch, "foreign");
    assert_int_equal(safetensors_write(path, &tensor, 1, NULL, 0, NULL), STATUS_OK);
    refused(path, "r", STATUS_CORRUPT, "not a checkpoint");
    assert_int_equal(safetensors_write(path, &tensor, 1, &recipe, 1, NULL), STATUS_OK);
    refused(path, "r", STATUS_CORRUPT, "\"parameters\" is missing or of another size");
    refused(scratch_write_text(&scratch, "text", "once upon a time there was a checkpoint"), "r",
            STATUS_CORRUPT, "text");
}

static void missing_parts_are_named(void **state) {
    (void)state;
    struct state_buffer buffers[TRAINER_STATE_MAX];
    struct safetensors_output tensors[TRAINER_STATE_MAX];
    struct safetensors_text recipe = {(char[]){"recipe"}, (char[]){"r"}};
    int count = trainer_state(&trainer, buffers);
    const char *path = scratch_path(&scratch, "parts");
    for (int without = 0; without <= count; without++) {
        size_t kept = 0;
        for (int i = 0; i < count; i++)
            if (i != without)
                tensors[kept++] = (struct safetensors_output){
                    buffers[i].name, SAFETENSORS_F32, 1, {buffers[i].count}, buffers[i].values};
        assert_int_equal(safetensors_write(path, tensors, kept, &recipe, 1, NULL), STATUS_OK);
        refused(path, "r", STATUS_CORRUPT, without < count ? buffers[without].name : "\"step\"");
    }
}

/* A file that cannot grow, as on a full disk: the save fails and the last one stays. */
static void a_full_disk_leaves_the_last_checkpoint(void **state) {
    (void)state;
    const char *path = save("old");
    struct rlimit limit, small;
    getrlimit(RLIMIT_FSIZE, &limit);
    small = limit;
    small.rlim_cur = 5000;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    struct error err = {0};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const struct run_identity identity = {"new", KEPT, HOW};
    enum status status = checkpoint_save(path, &trainer, &PROGRESS, &identity, &err);
    setrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, STATUS_IO);
    assert_non_null(strstr(err.message, "checkpoint.safetensors"));
    struct progress progress;
    const struct run_identity old = {"old", KEPT, HOW};
    assert_int_equal(checkpoint_load(path, &trainer, &progress, &old, NULL, NULL), STATUS_OK);
    assert_int_equal(scratch_count(&scratch), 1); /* no temporary is left */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(no_validation_yet_is_infinity, setup, teardown),
        cmocka_unit_test_setup_teardown(another_recipe_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_differs_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(how_it_is_computed_may_change_and_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_file_is_not_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_truncated_file_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_foreign_file_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(missing_parts_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_leaves_the_last_checkpoint, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
