/* API keys: which headers are accepted. */
#include "server/keys.h"
#include "tests/support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_without_a_file_everyone_may(void **state) {
    (void)state;
    struct keys keys = {0};
    assert_true(keys_accept(&keys, NULL));
    assert_true(keys_accept(&keys, "anything"));
}

static void test_only_the_keys_of_the_file_are_accepted(void **state) {
    (void)state;
    struct keys keys;
    struct error err = {0};
    const char *path =
        scratch_write_text(&scratch, "keys",
                           "# who: the reading room\nfirst-key\n\n  second key \r\nlast");
    assert_int_equal(keys_load(&keys, path, &err), STATUS_OK);
    static const char *const right[] = {"Bearer first-key", "bearer first-key", "BEARER   last",
                                        "Bearer second key"};
    static const char *const wrong[] = {
        "", "Bearer", "Bearer ", "Bearer first-ke", "Bearer first-keyx", "Bearer first-key ",
        "Bearer # who: the reading room", "Bearer second", "first-key", "Basic first-key",
        "Bearer first-keyfirst-key", "Bearer \r", "Bearer lastlast", "Bearer LAST"};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        if (!keys_accept(&keys, right[i]))
            fail_msg("refused \"%s\"", right[i]);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (keys_accept(&keys, wrong[i]))
            fail_msg("accepted \"%s\"", wrong[i]);
    assert_false(keys_accept(&keys, NULL));
    keys_free(&keys);
}

static void test_keys_of_other_systems(void **state) {
    (void)state;
    struct keys keys;
    struct error err = {0};
    const char *path = scratch_write_text(&scratch, "keys", "\xEF\xBB\xBF" "first\rsecond\r");
    assert_int_equal(keys_load(&keys, path, &err), STATUS_OK);
    assert_true(keys_accept(&keys, "Bearer first"));
    assert_true(keys_accept(&keys, "Bearer second"));
    assert_false(keys_accept(&keys, "Bearer \xEF\xBB\xBF" "first"));
    keys_free(&keys);
    static const struct {
        const char *bytes;
        size_t count;
        const char *words;
    } cases[] = {
        {"\xFF\xFEk\0e\0y\0", 8, "UTF-16"}, {"\xFE\xFF\0k\0e\0y", 8, "UTF-16"},
        {"k\0e\0y\0\n\0", 8, "UTF-16"},     {"\0k\0e\0y", 6, "UTF-16"},
        {"key\nk\0y", 7, "NUL"},             {"\xEF\xBB\xBF", 3, "no key"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        path = scratch_write(&scratch, "keys", cases[i].bytes, cases[i].count);
        assert_int_equal(keys_load(&keys, path, &err), STATUS_INVALID);
        if (!strstr(err.message, cases[i].words))
            fail_msg("\"%s\" does not say \"%s\"", err.message, cases[i].words);
    }
}

static void test_a_file_without_a_key_is_an_error(void **state) {
    (void)state;
    struct keys keys;
    struct error err = {0};
    const char *path = scratch_write_text(&scratch, "keys", "# nobody yet\n \n");
    assert_int_equal(keys_load(&keys, path, &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "keys"));
    path = scratch_write_text(&scratch, "empty", "");
    assert_int_equal(keys_load(&keys, path, &err), STATUS_INVALID);
    assert_int_equal(keys_load(&keys, scratch_path(&scratch, "none"), &err), STATUS_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_file_everyone_may),
        SCRATCH_TEST(test_only_the_keys_of_the_file_are_accepted),
        SCRATCH_TEST(test_keys_of_other_systems),
        SCRATCH_TEST(test_a_file_without_a_key_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
