#include "tests/fuzz/fuzz.h"

#include "base/status.h"
#include "tests/support/scratch.h"
#include "tokenizer/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fuzz_violated(const char *condition, const char *file, int line) {
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}

void fuzz_check_error(int status, const struct error *err) {
    FUZZ_CHECK(status != STATUS_OK);
    FUZZ_CHECK((int)err->status == status);
    FUZZ_CHECK(memchr(err->message, '\0', sizeof err->message) && err->message[0]);
    FUZZ_CHECK(memchr(err->field, '\0', sizeof err->field));
}

void fuzz_check_utf8(const char *text, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        size_t length = utf8_length(text + at, bytes - at);
        FUZZ_CHECK(length > 0);
        at += length;
    }
}

/* ---- files ------------------------------------------------------------------ */

/* The scratch folder lives until the process ends. */
static void close_scratch(void) {
    scratch_close(&scratch);
}

static const struct scratch *folder(void) {
    if (!scratch.folder[0]) {
        scratch_open(&scratch);
        atexit(close_scratch);
    }
    return &scratch;
}

const char *fuzz_file(const uint8_t *data, size_t size) {
    return scratch_write(folder(), "input", data, size);
}

const char *fuzz_output(void) {
    return scratch_path(folder(), "output");
}
