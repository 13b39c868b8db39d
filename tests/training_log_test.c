/* The training log: whole lines of JSON, and none from after the checkpoint. */
#include "tests/support/scratch.h"
#include "train/training_log.h"

#include "base/buffer.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct training_log open_log(uint64_t step) {
    struct training_log training_log;
    struct error err = {0};
    if (training_log_open(&training_log, scratch_path(&scratch, "log.jsonl"), step, 40, &err) !=
        STATUS_OK)
        fail_msg("%s", err.message);
    return training_log;
}

static void write_steps(struct training_log *training_log, uint64_t from, uint64_t to) {
    for (uint64_t step = from; step <= to; step++) {
        struct progress progress = {.step = step, .tokens = step * 100, .seconds = 2.5,
                                    .data = {.epoch = step / 10}};
        struct step_report report = {3.5, 0.75, 0.02, 1234, 60};
        training_log_step(training_log, &progress, &report, step % 2 == 0);
        struct evaluation evaluation = {.loss = 2.25, .bits_per_byte = 0.8};
        if (step % 10 == 0)
            training_log_validation(training_log, &progress, &evaluation, NULL, true);
    }
}

/* The "step" of each line, and that each is an object; returns how many. */
static int read_steps(double *steps, int limit) {
    char *text = scratch_read(&scratch, "log.jsonl");
    int count = 0;
    assert_non_null(text);
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        cJSON *object = cJSON_ParseWithLength(line, (size_t)(end - line));
        assert_true(cJSON_IsObject(object));
        assert_true(count < limit);
        steps[count++] = cJSON_GetObjectItemCaseSensitive(object, "step")->valuedouble;
        cJSON_Delete(object);
    }
    assert_true(text[0] == '\0' || text[strlen(text) - 1] == '\n');
    free(text);
    return count;
}

static double field(const char *line, const char *name) {
    cJSON *object = cJSON_Parse(line);
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    double value = cJSON_IsNumber(item) ? item->valuedouble : NAN;
    cJSON_Delete(object);
    return value;
}

static void lines_hold_what_happened(void **state) {
    (void)state;
    struct training_log training_log = open_log(0);
    write_steps(&training_log, 9, 10);
    assert_int_equal(training_log_close(&training_log, NULL), STATUS_OK);
    char *text = scratch_read(&scratch, "log.jsonl"), *second = strchr(text, '\n') + 1;
    assert_true(field(text, "step") == 10);
    assert_true(field(text, "epoch") == 1);
    assert_true(field(text, "tokens") == 1000);
    assert_true(field(text, "loss") == 3.5);
    assert_true(field(text, "learning_rate") == 0.02);
    assert_true(field(text, "gradient_norm") == 0.75);
    assert_true(field(text, "tokens_per_second") == 1234);
    assert_true(field(text, "seconds") == 2.5);
    assert_true(field(second, "step") == 10);
    assert_true(field(second, "valid_loss") == 2.25);
    assert_true(field(second, "bits_per_byte") == 0.8);
    free(text);
}

static void the_better_of_newest_and_average_counts(void **state) {
    (void)state;
    struct progress progress = {.step = 3};
    struct evaluation high = {.loss = 2.5, .bits_per_byte = 0.9};
    struct evaluation low = {.loss = 2.25, .bits_per_byte = 0.8};
    struct training_log training_log = open_log(0);
    training_log_validation(&training_log, &progress, &high, &low, true);
    training_log_validation(&training_log, &progress, &low, &high, false);
    assert_int_equal(training_log_close(&training_log, NULL), STATUS_OK);
    char *text = scratch_read(&scratch, "log.jsonl"), *second = strchr(text, '\n') + 1;
    assert_true(field(text, "valid_loss") == 2.25 && field(text, "bits_per_byte") == 0.8);
    assert_true(field(text, "newest_loss") == 2.5 && field(text, "average_loss") == 2.25);
    assert_true(field(second, "valid_loss") == 2.25 && field(second, "bits_per_byte") == 0.8);
    assert_true(field(second, "newest_loss") == 2.25 && field(second, "average_loss") == 2.5);
    free(text);
}

static void lines_after_the_checkpoint_are_dropped(void **state) {
    (void)state;
    double steps[64];
    struct training_log training_log = open_log(0);
    write_steps(&training_log, 1, 20); /* 10 steps and 2 validations */
    training_log_close(&training_log, NULL);
    assert_int_equal(read_steps(steps, 64), 12);

    training_log = open_log(13);
    training_log_close(&training_log, NULL);
    assert_int_equal(read_steps(steps, 64), 7); /* 2 4 6 8 10 10 12 */
    assert_true(steps[4] == 10 && steps[5] == 10 && steps[6] == 12);

    training_log = open_log(13);
    write_steps(&training_log, 14, 20);
    training_log_close(&training_log, NULL);
    assert_int_equal(read_steps(steps, 64), 12); /* as if never interrupted */

    training_log = open_log(0);
    training_log_close(&training_log, NULL);
    assert_int_equal(read_steps(steps, 64), 0);
}

static void torn_and_foreign_lines_are_dropped(void **state) {
    (void)state;
    double steps[8];
    scratch_write_text(&scratch, "log.jsonl",
                       "\n{\"step\":1,\"loss\":2}\nnonsense\n{\"step\":2\n{\"loss\":1}\n"
                       "{\"step\":3,\"loss\":2}\n{\"step\":4,\"lo");
    struct training_log training_log = open_log(100);
    training_log_close(&training_log, NULL);
    assert_int_equal(read_steps(steps, 8), 2);
    assert_true(steps[0] == 1 && steps[1] == 3);
}

/* A long run's log; to read it once per line would take minutes. */
static void no_line_of_a_large_log_is_lost(void **state) {
    (void)state;
    enum { STEPS = 200000, KEPT = STEPS - 10 };
    struct buffer expected = {0};
    struct training_log training_log = open_log(0);
    for (uint64_t step = 1; step <= STEPS; step++) {
        char line[80];
        snprintf(line, sizeof line, "{\"step\":%d,\"loss\":2.5,\"tokens\":9}\n", (int)step);
        fputs(line, training_log.file);
        if (step <= KEPT)
            buffer_append_text(&expected, line);
    }
    training_log_close(&training_log, NULL);
    training_log = open_log(KEPT);
    training_log_close(&training_log, NULL);
    char *text = scratch_read(&scratch, "log.jsonl");
    assert_false(expected.failed);
    assert_string_equal(text, expected.data);
    free(text);
    buffer_free(&expected);
}

static void a_log_that_cannot_be_written_is_an_error(void **state) {
    (void)state;
    struct training_log training_log;
    struct error err = {0};
    scratch_write_text(&scratch, "file", "");
    const char *path = scratch_path(&scratch, "file/log.jsonl");
    assert_int_not_equal(training_log_open(&training_log, path, 0, 10, &err), STATUS_OK);
    assert_non_null(strstr(err.message, path));
    if (access("/dev/full", W_OK) != 0)
        return; /* only Linux has it */
    training_log = open_log(0);
    assert_non_null(freopen("/dev/full", "w", training_log.file));
    write_steps(&training_log, 1, 2);
    assert_int_equal(training_log_close(&training_log, &err), STATUS_IO);
}

static void durations_are_short(void **state) {
    (void)state;
    const struct { double seconds; const char *text; } cases[] = {
        {-5, "0m00s"}, {0, "0m00s"}, {59.9, "0m59s"}, {125, "2m05s"}, {3599, "59m59s"},
        {3600, "1h00m"}, {11220, "3h07m"}, {172799, "47h59m"}, {172800, "2d00h"},
        {385200, "4d11h"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[32];
        training_log_duration(cases[i].seconds, text, sizeof text);
        assert_string_equal(text, cases[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(lines_hold_what_happened),
        SCRATCH_TEST(the_better_of_newest_and_average_counts),
        SCRATCH_TEST(lines_after_the_checkpoint_are_dropped),
        SCRATCH_TEST(torn_and_foreign_lines_are_dropped),
        SCRATCH_TEST(no_line_of_a_large_log_is_lost),
        SCRATCH_TEST(a_log_that_cannot_be_written_is_an_error),
        cmocka_unit_test(durations_are_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
