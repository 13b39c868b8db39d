/* scratch.h - a folder of files for one test, removed with it.
 *
 * Failures end the test program with a message: without files no test can run.
 * Ownership: this file owns the paths it returns; they live for 64 more calls.
 * One thread at a time.
 */
#ifndef ALPACA_TESTS_SUPPORT_SCRATCH_H
#define ALPACA_TESTS_SUPPORT_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>

struct scratch {
    char folder[256];
};

void scratch_open(struct scratch *s);
void scratch_close(struct scratch *s); /* removes the folder and all in it */

/* For cmocka: a new `scratch` for each SCRATCH_TEST, or for a group of tests. */
extern struct scratch scratch;
int scratch_setup(void **state);
int scratch_teardown(void **state);
#define SCRATCH_TEST(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

const char *scratch_path(const struct scratch *s, const char *name);
/* Creates or replaces the file and its folders; returns its path. */
const char *scratch_write(const struct scratch *s, const char *name, const void *bytes,
                          size_t count);
const char *scratch_write_text(const struct scratch *s, const char *name, const char *text);
/* The whole file, NUL-terminated, for the caller to free; NULL when there is none. */
char *scratch_read(const struct scratch *s, const char *name);
/* Entries of the folder. */
size_t scratch_count(const struct scratch *s);

#endif
