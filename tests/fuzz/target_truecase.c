/* Capitals for any bytes, whole and in pieces, by the small table and by one that they are. */
#include "base/buffer.h"
#include "base/status.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/fence.h"
#include "tokenizer/letters.h"
#include "tokenizer/truecase.h"
#include "tokenizer/utf8.h"

#include <string.h>

/* Pieces of 1 to 7 bytes, as the text's own bytes say. */
static size_t piece_at(const char *text, size_t at, size_t size) {
    size_t piece = 1 + (unsigned char)text[size - 1 - at] % 7;
    return piece < size - at ? piece : size - at;
}

/* All bytes from `read` on, in one piece or in several; those before are only read. */
static void restore(const struct truecase_table *table, const char *text, size_t read, size_t size,
                    bool whole, struct buffer *out) {
    struct truecaser truecaser;
    struct error err = {0};
    truecaser_start(&truecaser, table);
    truecaser_read(&truecaser, text, read);
    for (size_t at = read, piece; at < size; at += piece) {
        piece = whole ? size - at : piece_at(text, at, size);
        FUZZ_CHECK(truecaser_push(&truecaser, text + at, piece, out, &err) == STATUS_OK);
        FUZZ_CHECK(out->size <= at + piece - read);
    }
    FUZZ_CHECK(truecaser_finish(&truecaser, out, &err) == STATUS_OK);
}

static void check(const struct truecase_table *table, const char *text, size_t read, size_t size) {
    struct buffer whole = {0}, pieces = {0}, lower = {0};
    restore(table, text, read, size, true, &whole);
    restore(table, text, read, size, false, &pieces);
    FUZZ_CHECK(whole.size == size - read && pieces.size == whole.size);
    if (whole.size > 0) {
        FUZZ_CHECK(memcmp(whole.data, pieces.data, whole.size) == 0);
        FUZZ_CHECK(utf8_count(whole.data, whole.size) == utf8_count(text + read, size - read));
        /* Nothing but case is different. */
        FUZZ_CHECK(buffer_append(&lower, text + read, size - read));
        letters_lower(lower.data, lower.size);
        letters_lower(whole.data, whole.size);
        FUZZ_CHECK(memcmp(whole.data, lower.data, whole.size) == 0);
    }
    buffer_free(&whole);
    buffer_free(&pieces);
    buffer_free(&lower);
}

void fuzz_truecase(const uint8_t *data, size_t size) {
    struct fence text = fence_create(size);
    struct truecase_table *small = NULL, *own = NULL;
    struct error err = {0};
    if (size)
        memcpy(text.data, data, size);
    FUZZ_CHECK(truecase_table_small(&small, &err) == STATUS_OK);
    enum status status = truecase_table_parse(&own, text.data, size, "the input", &err);
    if (status == STATUS_OK)
        check(own, text.data, 0, size);
    else
        fuzz_check_error(status, &err);
    check(small, text.data, 0, size);
    check(small, text.data, size / 3, size);
    truecase_table_free(own);
    truecase_table_free(small);
    fence_destroy(&text);
}
