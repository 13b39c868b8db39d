/* Story files of every form: each story is read once, and damage is an error. */
#include "base/buffer.h"
#include "base/status.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/fence.h"
#include "train/data/story_json.h"
#include "train/data/story_reader.h"

#include <string.h>

static void read_file(const uint8_t *data, size_t size) {
    struct story_reader *reader;
    struct buffer story = {0};
    struct error err = {0};
    bool got = true;
    size_t records = 0, bytes = 0;
    FUZZ_CHECK(story_reader_open(&reader, fuzz_file(data, size), &err) == STATUS_OK);
    while (got) {
        enum status status = story_reader_next(reader, &story, &got, &err);
        if (status != STATUS_OK) {
            fuzz_check_error((int)status, &err);
            FUZZ_CHECK(status != STATUS_NO_MEMORY && status != STATUS_IO);
            break;
        }
        records += got;
        bytes += got ? story.size : 0;
        FUZZ_CHECK(records <= size); /* every record takes at least its separator */
    }
    FUZZ_CHECK(bytes <= size); /* no form makes a text longer */
    story_reader_close(reader);
    buffer_free(&story);
}

/* The end of a value is found at the same place however the bytes arrive. */
static size_t scan_value(const char *text, size_t size) {
    struct json_scan whole = {0}, parts = {0};
    enum json_found found = json_scan_value(&whole, text, size), bit_by_bit = JSON_MORE;
    for (size_t given = 0; given <= size && bit_by_bit == JSON_MORE; given++)
        bit_by_bit = json_scan_value(&parts, text, given);
    FUZZ_CHECK(found == bit_by_bit && whole.seen == parts.seen && whole.seen <= size);
    return found == JSON_COMPLETE ? whole.seen : size;
}

static void read_value(const uint8_t *data, size_t size) {
    struct fence value = fence_create(size);
    struct buffer story = {0};
    struct error err = {0};
    memcpy(value.data, data, size);
    size_t bytes = scan_value(value.data, size);
    enum status status = json_story(value.data, bytes, &story, &err);
    if (status != STATUS_OK) {
        fuzz_check_error((int)status, &err);
        FUZZ_CHECK(status == STATUS_CORRUPT || status == STATUS_INVALID);
    } else {
        FUZZ_CHECK(story.size <= size && !memchr(story.data, '\0', story.size));
    }
    buffer_free(&story);
    fence_destroy(&value);
}

void fuzz_stories(const uint8_t *data, size_t size) {
    read_file(data, size);
    if (size && (data[0] == '{' || data[0] == '"'))
        read_value(data, size);
}
