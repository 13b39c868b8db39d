/* scratch.h - a folder of files for one test, removed with it.
 *
 * Failures end the test program with a message: without files no test can run.
 * Paths live until the next 64 calls. One thread at a time.
 */
#ifndef ALPACA_TESTS_SUPPORT_SCRATCH_H
#define ALPACA_TESTS_SUPPORT_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>

struct scratch {
    char folder[256];
};

void scratch_open(struct scratch *scratch);
void scratch_close(struct scratch *scratch); /* removes the folder and all in it */

const char *scratch_path(const struct scratch *scratch, const char *name);
/* Creates or replaces the file and its folders; returns its path. */
const char *scratch_write(const struct scratch *scratch, const char *name, const void *bytes,
                          size_t count);
const char *scratch_write_text(const struct scratch *scratch, const char *name, const char *text);
/* The whole file, NUL-terminated, for the caller to free; NULL when there is none. */
char *scratch_read(const struct scratch *scratch, const char *name);
/* Entries of the folder. */
size_t scratch_count(const struct scratch *scratch);

#endif
