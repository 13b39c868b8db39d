/* Every input in tests/fuzz/corpus/ through its fuzz target: the seeds, and what once broke one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>

typedef void fuzz_target(const uint8_t *data, size_t size);

static void run_input(const char *path, fuzz_target *target) {
    struct buffer input = {0};
    struct error err;
    if (file_read(path, 1 << 20, &input, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    print_message("%s\n", path); /* the last one printed is the one that broke it */
    target((const uint8_t *)(input.data ? input.data : ""), input.size);
    buffer_free(&input);
}

/* The input cut short everywhere: what a file looks like when a disk was full. */
static void run_prefixes(const char *path, fuzz_target *target) {
    struct buffer input = {0};
    assert_int_equal(file_read(path, 1 << 20, &input, NULL), STATUS_OK);
    size_t step = input.size / 64 + 1;
    for (size_t size = 0; size < input.size; size += step)
        target((const uint8_t *)input.data, size);
    buffer_free(&input);
}

static void run_corpus(const char *name, fuzz_target *target) {
    char folder[256], path[600];
    int inputs = 0;
    snprintf(folder, sizeof folder, "tests/fuzz/corpus/%s", name);
    DIR *entries = opendir(folder);
    if (!entries)
        fail_msg("no %s (run from the repository's root)", folder);
    for (const struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        run_input(path, target);
        run_prefixes(path, target);
        inputs++;
    }
    closedir(entries);
    assert_true(inputs > 0);
}

#define CORPUS_TEST(name)                                                                       \
    static void corpus_of_##name(void **state) {                                                \
        (void)state;                                                                            \
        run_corpus(#name, fuzz_##name);                                                         \
    }
FUZZ_TARGETS(CORPUS_TEST)
#undef CORPUS_TEST

int main(void) {
#define CORPUS_ENTRY(name) cmocka_unit_test(corpus_of_##name),
    const struct CMUnitTest tests[] = {FUZZ_TARGETS(CORPUS_ENTRY)};
#undef CORPUS_ENTRY
    return cmocka_run_group_tests(tests, NULL, NULL);
}
