/* Safetensors files: round trips, every rule of the format, and files made to hurt. */
#include "model/safetensors.h"
#include "tests/support/scratch.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

/* A file of this header and `data_bytes` bytes of data; returns its path. */
static const char *write_raw(uint64_t header_length, const char *header, size_t header_bytes,
                             size_t data_bytes) {
    size_t size = 8 + header_bytes + data_bytes;
    unsigned char *bytes = calloc(size, 1);
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(header_length >> 8 * i);
    memcpy(bytes + 8, header, header_bytes);
    const char *path = scratch_write(&scratch, "raw.safetensors", bytes, size);
    free(bytes);
    return path;
}

static const char *write_header(const char *header, size_t data_bytes) {
    return write_raw(strlen(header), header, strlen(header), data_bytes);
}

static void assert_refused(const char *path, enum status expected, const char *words) {
    struct safetensors file;
    struct error err = {0};
    enum status status = safetensors_open(&file, path, &err);
    if (status == STATUS_OK)
        fail_msg("opened, but should be refused: %s", words);
    if (status != expected || !strstr(err.message, words))
        fail_msg("expected \"%s\", got status %d, \"%s\"", words, status, err.message);
}

/* Replacing a file in place makes some file systems flush it: too slow for thousands of times. */
static const char *write_fresh(const struct buffer *bytes, size_t size) {
    remove(scratch_path(&scratch, "damaged.safetensors"));
    return scratch_write(&scratch, "damaged.safetensors", bytes->data, size);
}

/* Whatever was opened must be usable: data inside the mapping, sizes that agree. */
static void assert_sound(const struct safetensors *file) {
    for (size_t i = 0; i < file->count; i++) {
        const struct safetensors_tensor *tensor = &file->tensors[i];
        assert_true(tensor->data >= file->map.data);
        assert_true(tensor->bytes <= file->map.size);
        assert_true(tensor->data + tensor->bytes <= file->map.data + file->map.size);
        if (tensor->dtype == SAFETENSORS_F32)
            assert_int_equal(tensor->bytes, tensor->count * 4);
        assert_ptr_equal(safetensors_find(file, tensor->name), tensor);
    }
}

/* ---- what is written comes back -------------------------------------------- */

static const float reals[] = {0.0f, -0.0f, 1.5f, -3.25e30f, 1e-42f, INFINITY};

static const char *write_sample(void) {
    const struct safetensors_output outputs[] = {
        {"reals", SAFETENSORS_F32, 2, {2, 3}, reals},
        {"halves", SAFETENSORS_BF16, 1, {3}, reals},
        {"empty", SAFETENSORS_F32, 2, {0, 7}, reals},
        {"a \"scalar\"", SAFETENSORS_F32, 0, {0}, &reals[2]},
    };
    char keys[2][8] = {"format", "n\303\266te"}, values[2][16] = {"pt", "tab\t, \"quote\""};
    const struct safetensors_text metadata[] = {{keys[0], values[0]}, {keys[1], values[1]}};
    struct error err = {0};
    const char *path = scratch_path(&scratch, "sample.safetensors");
    if (safetensors_write(path, outputs, 4, metadata, 2, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return path;
}

static void test_what_is_written_is_read_again(void **state) {
    (void)state;
    struct safetensors file;
    struct error err = {0};
    assert_int_equal(safetensors_open(&file, write_sample(), &err), STATUS_OK);
    assert_int_equal(file.count, 4);
    assert_sound(&file);
    assert_string_equal(safetensors_metadata(&file, "format"), "pt");
    assert_string_equal(safetensors_metadata(&file, "n\303\266te"), "tab\t, \"quote\"");
    assert_null(safetensors_metadata(&file, "missing"));
    assert_null(safetensors_find(&file, "missing"));

    float values[6];
    const struct safetensors_tensor *tensor = safetensors_find(&file, "reals");
    assert_int_equal(tensor->rank, 2);
    assert_int_equal(tensor->shape[1], 3);
    assert_int_equal(safetensors_copy_f32(tensor, values, &err), STATUS_OK);
    assert_memory_equal(values, reals, sizeof reals);
    assert_int_equal(safetensors_find(&file, "empty")->bytes, 0);
    tensor = safetensors_find(&file, "a \"scalar\"");
    assert_int_equal(tensor->rank, 0);
    assert_int_equal(tensor->count, 1);
    safetensors_close(&file);
}

static void test_header_is_padded_to_eight(void **state) {
    (void)state;
    write_sample();
    char *bytes = scratch_read(&scratch, "sample.safetensors");
    uint64_t length;
    memcpy(&length, bytes, 8);
    assert_int_equal(length % 8, 0);
    assert_int_equal(bytes[8], '{');
    char last = bytes[8 + length - 1];
    assert_true(last == '}' || last == ' ');
    free(bytes);
}

static void test_bf16_rounds_to_nearest_even(void **state) {
    (void)state;
    const float unit = 0x1p-7f; /* one step of bf16 above 1 */
    const float given[] = {1 + unit / 2, 1 + 3 * unit / 2, 1 + unit / 2 + 0x1p-20f, -1 - unit / 2,
                           3.4e38f, INFINITY, -0.0f, NAN};
    const float expected[] = {1, 1 + 2 * unit, 1 + unit, -1, INFINITY, INFINITY, -0.0f};
    float values[8];
    struct safetensors_output output = {"x", SAFETENSORS_BF16, 1, {8}, given};
    struct safetensors file;
    const char *path = scratch_path(&scratch, "bf16.safetensors");
    assert_int_equal(safetensors_write(path, &output, 1, NULL, 0, NULL), STATUS_OK);
    assert_int_equal(safetensors_open(&file, path, NULL), STATUS_OK);
    assert_int_equal(safetensors_copy_f32(&file.tensors[0], values, NULL), STATUS_OK);
    assert_memory_equal(values, expected, sizeof expected);
    assert_true(isnan(values[7]));
    safetensors_close(&file);
}

static void test_many_values_cross_chunks(void **state) {
    (void)state;
    enum { COUNT = 100003 };
    float *given = malloc(COUNT * sizeof *given), *values = malloc(COUNT * sizeof *values);
    for (int i = 0; i < COUNT; i++)
        given[i] = (float)(i - 50000) * 0.5f;
    struct safetensors_output outputs[] = {{"b", SAFETENSORS_BF16, 1, {1}, given}, /* unaligns c */
                                           {"c", SAFETENSORS_F32, 1, {COUNT}, given}};
    struct safetensors file;
    const char *path = scratch_path(&scratch, "many.safetensors");
    assert_int_equal(safetensors_write(path, outputs, 2, NULL, 0, NULL), STATUS_OK);
    assert_int_equal(safetensors_open(&file, path, NULL), STATUS_OK);
    assert_int_equal(safetensors_copy_f32(safetensors_find(&file, "c"), values, NULL), STATUS_OK);
    assert_memory_equal(values, given, COUNT * sizeof *given);
    safetensors_close(&file);
    free(given);
    free(values);
}

static void test_full_disk_keeps_the_old_file(void **state) {
    (void)state;
    const char *path = scratch_path(&scratch, "kept.safetensors");
    static float values[50000];
    struct safetensors_output small = {"old", SAFETENSORS_F32, 1, {4}, values};
    struct safetensors_output large = {"new", SAFETENSORS_F32, 1, {50000}, values};
    assert_int_equal(safetensors_write(path, &small, 1, NULL, 0, NULL), STATUS_OK);
    size_t files = scratch_count(&scratch);

    struct rlimit saved, tight;
    struct error err = {0};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
    tight = saved;
    tight.rlim_cur = 65536;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    enum status status = safetensors_write(path, &large, 1, NULL, 0, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
    signal(SIGXFSZ, SIG_DFL);

    assert_int_equal(status, STATUS_IO);
    assert_non_null(strstr(err.message, "kept.safetensors"));
    assert_int_equal(scratch_count(&scratch), files); /* no temporary left behind */
    struct safetensors file;
    assert_int_equal(safetensors_open(&file, path, NULL), STATUS_OK);
    assert_non_null(safetensors_find(&file, "old"));
    safetensors_close(&file);
}

/* ---- the format's rules ------------------------------------------------------ */

static void test_accepts_what_the_format_allows(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data_bytes, count;
    } cases[] = {
        {"{}", 0, 0},
        {"{}     \n", 0, 0},
        {"{\"__metadata__\":{}}", 0, 0},
        {"{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, 2},
        {"{\"a\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[0,6]},"
         "\"e\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[6,6]}}", 6, 2},
        {"{\"e\":{\"dtype\":\"F64\",\"shape\":[5,0],\"data_offsets\":[0,0]},"
         "\"a\":{\"dtype\":\"BOOL\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, 2},
        {"{\"a\":{\"dtype\":\"F4\",\"shape\":[4],\"data_offsets\":[0,2],\"later\":1}}", 2, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct safetensors file;
        struct error err = {0};
        const char *path = write_header(cases[i].header, cases[i].data_bytes);
        if (safetensors_open(&file, path, &err) != STATUS_OK)
            fail_msg("%s: %s", cases[i].header, err.message);
        assert_int_equal(file.count, cases[i].count);
        assert_sound(&file);
        safetensors_close(&file);
    }
}

#define ENTRY(dtype, shape, offsets) \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define ONE(dtype, shape, offsets) "{\"a\":" ENTRY(dtype, shape, offsets) "}"

static void test_measures_other_dtypes_and_widens_none(void **state) {
    (void)state;
    struct safetensors file;
    float values[2];
    const char *path = write_header(ONE("I32", "[2]", "[0,8]"), 8);
    assert_int_equal(safetensors_open(&file, path, NULL), STATUS_OK);
    assert_int_equal(file.tensors[0].dtype, SAFETENSORS_OTHER);
    assert_int_equal(file.tensors[0].bytes, 8);
    assert_int_equal(safetensors_copy_f32(&file.tensors[0], values, NULL), STATUS_UNSUPPORTED);
    safetensors_close(&file);
}

static void test_refuses_what_it_forbids(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data_bytes;
        enum status status;
        const char *words;
    } cases[] = {
        {"", 0, STATUS_CORRUPT, "not JSON"},
        {"{", 0, STATUS_CORRUPT, "not JSON"},
        {"{} x", 0, STATUS_CORRUPT, "not JSON"},
        {"[]", 0, STATUS_CORRUPT, "not a JSON object"},
        {"\"text\"", 0, STATUS_CORRUPT, "not a JSON object"},
        {"{\"a\":1}", 0, STATUS_CORRUPT, "not an object"},
        {"{\"a\":{}}", 0, STATUS_CORRUPT, "no shape"},
        {"{\"a\":{\"shape\":[]}}", 0, STATUS_CORRUPT, "no dtype"},
        {"{\"a\":{\"shape\":[],\"dtype\":7}}", 0, STATUS_CORRUPT, "no dtype"},
        {"{\"a\":{\"shape\":[],\"dtype\":\"F32\"}}", 4, STATUS_CORRUPT, "not two sizes"},
        {"{\"a\":{\"shape\":[],\"shape\":[],\"dtype\":\"U8\"}}", 1, STATUS_CORRUPT, "twice"},
        {ONE("F33", "[1]", "[0,4]"), 4, STATUS_CORRUPT, "unknown dtype"},
        {ONE("f32", "[1]", "[0,4]"), 4, STATUS_CORRUPT, "unknown dtype"},
        {ONE("F32", "4", "[0,4]"), 4, STATUS_CORRUPT, "no shape"},
        {ONE("F32", "[\"1\"]", "[0,4]"), 4, STATUS_CORRUPT, "not a list of sizes"},
        {ONE("F32", "[-1]", "[0,4]"), 4, STATUS_CORRUPT, "not a list of sizes"},
        {ONE("F32", "[1.5]", "[0,6]"), 6, STATUS_CORRUPT, "not a list of sizes"},
        {ONE("F32", "[1e300]", "[0,4]"), 4, STATUS_CORRUPT, "not a list of sizes"},
        {ONE("F32", "[4294967296,4294967296]", "[0,0]"), 0, STATUS_CORRUPT, "overflows"},
        {ONE("F32", "[1073741824,17179869184]", "[0,0]"), 0, STATUS_CORRUPT, "overflows"},
        {ONE("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, STATUS_UNSUPPORTED, "dimensions"},
        {ONE("F4", "[3]", "[0,1]"), 1, STATUS_CORRUPT, "not full"},
        {ONE("F32", "[1]", "[0,3]"), 3, STATUS_CORRUPT, "size of its shape"},
        {ONE("F32", "[1]", "[0,8]"), 8, STATUS_CORRUPT, "size of its shape"},
        {ONE("F32", "[1]", "[4,0]"), 4, STATUS_CORRUPT, "outside the file"},
        {ONE("F32", "[1]", "[0,4]"), 3, STATUS_CORRUPT, "outside the file"},
        {ONE("F32", "[1]", "[9007199254740000,9007199254740004]"), 4, STATUS_CORRUPT, "outside"},
        {ONE("F32", "[1]", "[18446744073709551612,18446744073709551616]"), 4, STATUS_CORRUPT,
         "not two sizes"},
        {ONE("F32", "[1]", "[-4,0]"), 4, STATUS_CORRUPT, "not two sizes"},
        {ONE("F32", "[1]", "[0,4,8]"), 8, STATUS_CORRUPT, "not two sizes"},
        {ONE("F32", "[1]", "[0]"), 4, STATUS_CORRUPT, "not two sizes"},
        {ONE("F32", "[1]", "[0,4]"), 5, STATUS_CORRUPT, "belong to no tensor"},
        {"{}", 1, STATUS_CORRUPT, "belong to no tensor"},
        {ONE("F32", "[1]", "[4,8]"), 8, STATUS_CORRUPT, "gap"},
        {"{\"a\":" ENTRY("U8", "[2]", "[0,2]") ",\"b\":" ENTRY("U8", "[2]", "[3,5]") "}", 5,
         STATUS_CORRUPT, "gap"},
        {"{\"a\":" ENTRY("U8", "[2]", "[0,2]") ",\"b\":" ENTRY("U8", "[2]", "[1,3]") "}", 3,
         STATUS_CORRUPT, "overlaps"},
        {"{\"a\":" ENTRY("U8", "[2]", "[0,2]") ",\"b\":" ENTRY("U8", "[2]", "[0,2]") "}", 2,
         STATUS_CORRUPT, "overlaps"},
        {"{\"a\":" ENTRY("U8", "[2]", "[0,2]") ",\"a\":" ENTRY("U8", "[2]", "[2,4]") "}", 4,
         STATUS_CORRUPT, "occurs twice"},
        {"{\"a\":" ENTRY("U8", "[2]", "[0,2]") ",\"\\u0061\":" ENTRY("U8", "[1]", "[2,3]") "}", 3,
         STATUS_CORRUPT, "occurs twice"},
        {"{\"a\\u0000\":" ENTRY("U8", "[2]", "[0,2]") "}", 2, STATUS_CORRUPT, "NUL"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, STATUS_CORRUPT, "occurs twice"},
        {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, STATUS_CORRUPT, "occurs twice"},
        {"{\"__metadata__\":{\"k\":1}}", 0, STATUS_CORRUPT, "not a text"},
        {"{\"__metadata__\":[]}", 0, STATUS_CORRUPT, "not an object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(write_header(cases[i].header, cases[i].data_bytes), cases[i].status,
                       cases[i].words);
}

static void test_refuses_wrong_header_lengths(void **state) {
    (void)state;
    assert_refused(write_raw(3, "{}", 2, 0), STATUS_CORRUPT, "beyond the end");
    assert_refused(write_raw(UINT64_MAX, "{}", 2, 0), STATUS_CORRUPT, "above");
    assert_refused(write_raw(UINT64_MAX - 7, "{}", 2, 0), STATUS_CORRUPT, "above");
    assert_refused(write_raw((uint64_t)1 << 32, "{}", 2, 0), STATUS_CORRUPT, "above");
    assert_refused(write_raw(0, "{}", 2, 0), STATUS_CORRUPT, "not JSON");
    assert_refused(write_raw(3, "{}\0", 3, 0), STATUS_CORRUPT, "NUL");
    assert_refused(scratch_write(&scratch, "empty", "", 0), STATUS_CORRUPT, "shorter");
    assert_refused(scratch_path(&scratch, "nowhere"), STATUS_NOT_FOUND, "nowhere");
    assert_refused(scratch.folder, STATUS_INVALID, "not a regular file");
}

static void test_survives_deep_and_wide_json(void **state) {
    (void)state;
    enum { DEPTH = 1000000 };
    char *text = malloc(2 * DEPTH + 16);
    memset(text, '[', DEPTH);
    assert_refused(write_raw(DEPTH, text, DEPTH, 0), STATUS_CORRUPT, "not JSON");
    strcpy(text, "{\"a\":{\"shape\":[");
    size_t length = strlen(text);
    for (int i = 0; i < DEPTH - 1; i++, length += 2)
        memcpy(text + length, "1,", 2);
    text[length] = '\0';
    assert_refused(write_raw(length, text, length, 0), STATUS_CORRUPT, "not JSON");
    free(text);
}

/* The mapping ends with the header, at the end of a page: one byte further is a crash. */
static void test_reads_nothing_behind_the_file(void **state) {
    (void)state;
    static const char *const ends[] = {"{}",         "{\"1\":1,", "{\"1\":\"\\", "{\"1\":\"\\u00",
                                       "{\"1\":-", "[tru",      ""};
    char page[65536 - 8];
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t length = strlen(ends[i]);
        memset(page, ' ', sizeof page);
        memcpy(page + sizeof page - length, ends[i], length);
        const char *path = write_raw(sizeof page, page, sizeof page, 0);
        struct safetensors file;
        enum status status = safetensors_open(&file, path, NULL);
        assert_int_equal(status, i == 0 ? STATUS_OK : STATUS_CORRUPT);
        if (status == STATUS_OK)
            safetensors_close(&file);
    }
}

/* ---- damage -------------------------------------------------------------------- */

static void test_refuses_every_truncation(void **state) {
    (void)state;
    struct buffer bytes = {0};
    assert_int_equal(file_read(write_sample(), 1 << 20, &bytes, NULL), STATUS_OK);
    for (size_t size = 0; size < bytes.size; size++) {
        struct safetensors file;
        const char *path = write_fresh(&bytes, size);
        assert_int_equal(safetensors_open(&file, path, NULL), STATUS_CORRUPT);
    }
    buffer_free(&bytes);
}

static void test_survives_every_changed_byte(void **state) {
    (void)state;
    static const unsigned char changes[] = {0x01, 0x02, 0x10, 0x80, 0xff};
    struct buffer bytes = {0};
    size_t refused = 0;
    assert_int_equal(file_read(write_sample(), 1 << 20, &bytes, NULL), STATUS_OK);
    for (size_t i = 0; i < bytes.size; i++) {
        for (size_t c = 0; c < sizeof changes; c++) {
            bytes.data[i] = (char)(bytes.data[i] ^ changes[c]);
            struct safetensors file;
            const char *path = write_fresh(&bytes, bytes.size);
            if (safetensors_open(&file, path, NULL) == STATUS_OK) {
                assert_sound(&file);
                safetensors_close(&file);
            } else {
                refused++;
            }
            bytes.data[i] = (char)(bytes.data[i] ^ changes[c]);
        }
    }
    assert_true(refused > bytes.size); /* most of the file is header, where changes show */
    buffer_free(&bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read_again),
        cmocka_unit_test(test_header_is_padded_to_eight),
        cmocka_unit_test(test_bf16_rounds_to_nearest_even),
        cmocka_unit_test(test_many_values_cross_chunks),
        cmocka_unit_test(test_full_disk_keeps_the_old_file),
        cmocka_unit_test(test_accepts_what_the_format_allows),
        cmocka_unit_test(test_measures_other_dtypes_and_widens_none),
        cmocka_unit_test(test_refuses_what_it_forbids),
        cmocka_unit_test(test_refuses_wrong_header_lengths),
        cmocka_unit_test(test_survives_deep_and_wide_json),
        cmocka_unit_test(test_reads_nothing_behind_the_file),
        cmocka_unit_test(test_refuses_every_truncation),
        cmocka_unit_test(test_survives_every_changed_byte),
    };
    return cmocka_run_group_tests_name("safetensors", tests, scratch_setup, scratch_teardown);
}
