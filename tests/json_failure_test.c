/* What cJSON cannot read is the file's fault unless malloc() said otherwise. Before 1.7.19 it could
 * not read numbers of more than 63 characters; here it reads nothing and says no more than that. */
#include "model/safetensors.h"
#include "model/weights.h"
#include "tests/support/scratch.h"
#include "train/data/story_json.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int reason; /* what malloc() leaves in errno */

/* The linker puts these in the place of cJSON's (LDFLAGS_json_failure_test in the Makefile). */
cJSON *__wrap_cJSON_ParseWithLengthOpts(const char *text, size_t bytes, const char **end, int nul);
cJSON *__wrap_cJSON_ParseWithLength(const char *text, size_t bytes);

cJSON *__wrap_cJSON_ParseWithLengthOpts(const char *text, size_t bytes, const char **end, int nul) {
    (void)text, (void)bytes, (void)end, (void)nul;
    errno = reason ? reason : errno;
    return NULL;
}

cJSON *__wrap_cJSON_ParseWithLength(const char *text, size_t bytes) {
    return __wrap_cJSON_ParseWithLengthOpts(text, bytes, NULL, 0);
}

static void assert_all_fail_with(enum status expected, int errno_after, int errno_before) {
    static const char tensors[] = "\x02\0\0\0\0\0\0\0{}";
    char story[] = "{\"text\": \"a\", \"score\": 0.7}";
    struct model_config config;
    struct safetensors file;
    struct buffer text = {0};
    reason = errno_after;
    errno = errno_before;
    const char *path = scratch_write_text(&scratch, "config.json", "{\"d_model\": 32}");
    assert_int_equal(config_read(path, &config, NULL), expected);
    errno = errno_before;
    path = scratch_write(&scratch, "model.safetensors", tensors, sizeof tensors - 1);
    assert_int_equal(safetensors_open(&file, path, NULL), expected);
    errno = errno_before;
    assert_int_equal(json_story(story, strlen(story), &text, NULL), expected);
    buffer_free(&text);
}

static void test_what_cannot_be_read_is_not_for_want_of_memory(void **state) {
    (void)state;
    assert_all_fail_with(STATUS_CORRUPT, 0, 0);
    assert_all_fail_with(STATUS_CORRUPT, 0, ENOMEM); /* an older failure's, not this one's */
}

static void test_want_of_memory_is_called_so(void **state) {
    (void)state;
    assert_all_fail_with(STATUS_NO_MEMORY, ENOMEM, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_what_cannot_be_read_is_not_for_want_of_memory),
        SCRATCH_TEST(test_want_of_memory_is_called_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
