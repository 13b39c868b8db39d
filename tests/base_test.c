/* base: files, buffers, arenas, random numbers, errors. */
#include "base/arena.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/rng.h"
#include "tests/support/scratch.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- files --------------------------------------------------------------------------- */

static enum status replace(const char *path, size_t bytes, struct error *err) {
    struct file_writer writer;
    enum status status = file_writer_open(&writer, path, err);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < bytes; i++)
        fputc('x', writer.stream);
    return file_writer_commit(&writer, err);
}

static void assert_file(const char *path, size_t size) {
    struct buffer bytes = {0};
    assert_int_equal(file_read(path, 1 << 20, &bytes, NULL), STATUS_OK);
    assert_int_equal(bytes.size, size);
    buffer_free(&bytes);
}

static void test_files_are_replaced_whole_or_not(void **state) {
    (void)state;
    const char *path = scratch_path(&scratch, "file");
    struct file_writer writer;
    assert_int_equal(replace(path, 10, NULL), STATUS_OK);
    assert_file(path, 10);
    assert_int_equal(file_writer_open(&writer, path, NULL), STATUS_OK);
    fputs("new", writer.stream);
    fflush(writer.stream);
    assert_file(path, 10); /* until the commit the old one stands */
    file_writer_abort(&writer);
    file_writer_abort(&writer); /* again is fine */
    assert_file(path, 10);
    assert_int_equal(replace(path, 20, NULL), STATUS_OK);
    assert_file(path, 20);
    assert_int_equal(file_replace(path, "story", 5, NULL), STATUS_OK);
    assert_file(path, 5);
    assert_int_equal(file_replace(path, NULL, 0, NULL), STATUS_OK);
    assert_file(path, 0);
    assert_int_equal(scratch_count(&scratch), 1); /* no temporaries stay */
}

static void test_full_disk_loses_nothing(void **state) {
    (void)state;
    const char *path = scratch_path(&scratch, "file");
    struct rlimit saved, tight;
    struct error err = {0};
    assert_int_equal(replace(path, 10, NULL), STATUS_OK);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
    tight = saved;
    tight.rlim_cur = 1000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    enum status small = replace(path, 1001, &err);  /* fails when flushed */
    enum status large = replace(path, 100000, NULL); /* fails on the way */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(small, STATUS_IO);
    assert_int_equal(large, STATUS_IO);
    assert_non_null(strstr(err.message, path));
    assert_file(path, 10);
    assert_int_equal(scratch_count(&scratch), 1);
}

static void test_writing_where_one_cannot(void **state) {
    (void)state;
    struct error err = {0};
    char name[5000];
    assert_int_equal(replace(scratch_path(&scratch, "no/such/folder"), 1, &err), STATUS_NOT_FOUND);
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = '\0';
    assert_int_equal(replace(name, 1, &err), STATUS_INVALID);
    assert_int_equal(file_make_folder(scratch_path(&scratch, "folder"), NULL), STATUS_OK);
    /* A file cannot be renamed over a folder: found out at the commit. */
    assert_int_equal(replace(scratch_path(&scratch, "folder"), 1, &err), STATUS_IO);
    assert_int_equal(scratch_count(&scratch), 1);
}

static void test_copying_files(void **state) {
    (void)state;
    struct buffer bytes = {0};
    struct error err = {0};
    const char *from = scratch_write_text(&scratch, "from", "some text");
    const char *to = scratch_write_text(&scratch, "to", "what was there before");
    assert_int_equal(file_copy(from, to, &err), STATUS_OK);
    assert_int_equal(file_copy(to, to, &err), STATUS_OK);
    assert_int_equal(file_read(to, 100, &bytes, NULL), STATUS_OK);
    assert_string_equal(bytes.data, "some text");
    assert_int_equal(file_copy(scratch_path(&scratch, "none"), to, &err), STATUS_NOT_FOUND);
    assert_int_equal(file_copy("/dev/zero", to, &err), STATUS_INVALID);
    assert_int_equal(scratch_count(&scratch), 2); /* no temporary stays */
    buffer_free(&bytes);
}

static void test_reading_files(void **state) {
    (void)state;
    struct buffer bytes = {0};
    struct file_map map;
    const char *path = scratch_write_text(&scratch, "text", "some text");
    buffer_append_text(&bytes, "kept, ");
    assert_int_equal(file_read(path, 9, &bytes, NULL), STATUS_OK);
    assert_string_equal(bytes.data, "kept, some text");
    assert_int_equal(file_read(path, 8, &bytes, NULL), STATUS_TOO_LARGE);
    assert_int_equal(file_read(scratch_path(&scratch, "none"), 8, &bytes, NULL), STATUS_NOT_FOUND);
    assert_int_equal(file_read("/dev/zero", 100000, &bytes, NULL), STATUS_TOO_LARGE); /* ends */
    assert_int_equal(file_map_open(&map, path, NULL), STATUS_OK);
    assert_int_equal(map.size, 9);
    assert_memory_equal(map.data, "some text", 9);
    file_map_close(&map);
    path = scratch_write_text(&scratch, "empty", "");
    assert_int_equal(file_map_open(&map, path, NULL), STATUS_OK);
    assert_int_equal(map.size, 0);
    file_map_close(&map);
    assert_int_equal(file_map_open(&map, "/dev/zero", NULL), STATUS_INVALID);
    buffer_free(&bytes);
}

static void test_folders(void **state) {
    (void)state;
    const char *deep = scratch_path(&scratch, "a/b//c/");
    assert_int_equal(file_make_folder(deep, NULL), STATUS_OK);
    assert_int_equal(file_make_folder(deep, NULL), STATUS_OK);
    assert_true(file_exists(scratch_path(&scratch, "a/b/c")));
    const char *blocked = scratch_write_text(&scratch, "a/file", "");
    assert_int_equal(file_make_folder(blocked, NULL), STATUS_IO);
    assert_int_equal(file_make_folder(scratch_path(&scratch, "a/file/x"), NULL), STATUS_IO);
    assert_int_equal(file_make_folder("", NULL), STATUS_INVALID);
}

/* ---- memory ---------------------------------------------------------------------------- */

static void test_no_path_is_cut(void **state) {
    (void)state;
    char path[FILE_PATH_BYTES], folder[FILE_PATH_BYTES];
    struct error err = {0};
    assert_int_equal(file_join(path, "a/folder", "file", NULL), STATUS_OK);
    assert_string_equal(path, "a/folder/file");
    memset(folder, 'x', sizeof folder);
    folder[FILE_PATH_BYTES - 2] = '\0';
    assert_int_equal(file_join(path, folder, "f", NULL), STATUS_INVALID); /* one byte too many */
    folder[FILE_PATH_BYTES - 3] = '\0';
    assert_int_equal(file_join(path, folder, "f", NULL), STATUS_OK);
    assert_int_equal(strlen(path), FILE_PATH_BYTES - 1);
    assert_int_equal(file_join(path, folder, "longer", &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "too long"));
}

static void test_the_program_finds_its_root(void **state) {
    (void)state;
    char root[FILE_PATH_BYTES], inside[FILE_PATH_BYTES];
    assert_true(file_program_root(root, "tests/base_test.c"));
    assert_int_equal(file_join(inside, root, "base/file.h", NULL), STATUS_OK);
    assert_true(file_exists(inside));
    assert_false(file_program_root(root, "no such file in any folder above"));
}

static void test_buffers_grow(void **state) {
    (void)state;
    struct buffer buffer = {0};
    for (int i = 0; i < 1000; i++) {
        assert_true(buffer_printf(&buffer, "%d,", i));
        assert_int_equal(buffer.data[buffer.size], '\0');
    }
    assert_int_equal(buffer.size, 10 * 2 + 90 * 3 + 900 * 4);
    assert_memory_equal(buffer.data + buffer.size - 8, "998,999,", 8);
    assert_true(buffer_append(&buffer, "a\0b", 3));
    assert_memory_equal(buffer.data + buffer.size - 3, "a\0b", 4);
    buffer_clear(&buffer);
    assert_string_equal(buffer.data, "");
    for (size_t size = 60; size < 70; size++) { /* around the first capacity */
        struct buffer edge = {0};
        char text[80];
        memset(text, 'x', sizeof text);
        assert_true(buffer_append(&edge, text, size) && buffer_append(&edge, "", 0));
        assert_int_equal(strlen(edge.data), size);
        buffer_free(&edge);
    }
    char *text = (buffer_append_text(&buffer, "mine"), buffer_release(&buffer));
    assert_string_equal(text, "mine");
    assert_null(buffer.data);
    free(text);
}

static void test_buffers_remember_failure(void **state) {
    (void)state;
    struct buffer buffer = {0};
    assert_true(buffer_append_text(&buffer, "before"));
    assert_false(buffer_reserve(&buffer, SIZE_MAX));
    assert_true(buffer.failed);
    assert_false(buffer_append_text(&buffer, "after"));
    assert_string_equal(buffer.data, "before");
    buffer_clear(&buffer);
    assert_true(buffer_append_text(&buffer, "again"));
    buffer_free(&buffer);
}

struct pieces {
    char *a;
    double *b;
    int32_t *c;
};

static void lay_out(void *context, struct arena *arena) {
    struct pieces *pieces = context;
    pieces->a = arena_take(arena, 1, 1);
    pieces->b = arena_take(arena, 1000, sizeof *pieces->b);
    pieces->c = arena_take(arena, 0, sizeof *pieces->c);
}

static void test_arenas_measure_and_serve(void **state) {
    (void)state;
    struct arena measure = {0}, arena;
    struct pieces pieces;
    lay_out(&pieces, &measure);
    assert_null(pieces.b);
    assert_int_equal(measure.used, ARENA_ALIGNMENT + 8000);
    assert_int_equal(arena_build(&arena, lay_out, &pieces, NULL), STATUS_OK);
    assert_int_equal(arena.size, measure.used);
    assert_int_equal(arena.used, arena.size);
    assert_int_equal((uintptr_t)pieces.b % ARENA_ALIGNMENT, 0);
    assert_true((char *)pieces.b >= pieces.a + 1);
    for (int i = 0; i < 1000; i++)
        assert_true(pieces.b[i] == 0);
    pieces.b[999] = 1;
    arena_destroy(&arena);
    assert_null(arena.memory);
    struct error err = {0};
    assert_int_equal(arena_create(&arena, SIZE_MAX / 2, &err), STATUS_NO_MEMORY);
    assert_true(err.message[0] != '\0');
    arena_destroy(&arena); /* of a failed creation is fine */
}

/* ---- random numbers ----------------------------------------------------------------------- */

static void test_rng_is_a_pure_function(void **state) {
    (void)state;
    assert_true(rng_bits(1, 2) == rng_bits(1, 2));
    assert_true(rng_bits(1, 2) != rng_bits(1, 3));
    assert_true(rng_bits(1, 2) != rng_bits(2, 2));
    assert_true(rng_bits(1, 2) != rng_bits(2, 1));
    assert_true(rng_derive(1, 2) != rng_bits(1, 2));
    assert_true(rng_entropy() != rng_entropy());
    /* Fixed for ever: stories are reproduced by seed. */
    assert_true(rng_bits(0, 0) == UINT64_C(0xa706dd2f4d197e6f));
    assert_true(rng_bits(42, 7) == UINT64_C(0xbc16a3d4cc48678e));
}

static void test_rng_is_uniform_and_normal(void **state) {
    (void)state;
    enum { COUNT = 100000, BINS = 20 };
    int bins[BINS] = {0};
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        double u = rng_uniform(i % 7, i), n = rng_normal(9, i);
        assert_true(u >= 0 && u < 1 && isfinite(n));
        bins[(int)(u * BINS)]++;
        sum += n;
        squares += n * n;
    }
    for (int i = 0; i < BINS; i++) /* deviation 69 */
        assert_in_range(bins[i], COUNT / BINS - 350, COUNT / BINS + 350);
    assert_true(fabs(sum / COUNT) < 0.02);
    assert_true(fabs(squares / COUNT - 1) < 0.03);
}

static void test_neighbouring_seeds_are_strangers(void **state) {
    (void)state;
    enum { COUNT = 2000 };
    for (uint64_t key = 0; key < 5; key++) {
        int bits = 0;
        for (uint64_t i = 0; i < COUNT; i++) {
            uint64_t difference = rng_bits(key, i) ^ rng_bits(key + 1, i);
            for (; difference; difference &= difference - 1)
                bits++;
            assert_true(rng_bits(key, i + 1) != rng_bits(key + 1, i)); /* no shifted copy */
        }
        assert_in_range(bits, 32 * COUNT - 1000, 32 * COUNT + 1000); /* deviation 179 */
    }
}

static void test_shuffle_permutes(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    int32_t items[COUNT], again[COUNT];
    bool seen[COUNT] = {false};
    int in_place = 0;
    for (int32_t i = 0; i < COUNT; i++)
        items[i] = again[i] = i;
    rng_shuffle(5, items, COUNT);
    rng_shuffle(5, again, COUNT);
    assert_memory_equal(items, again, sizeof items);
    for (int i = 0; i < COUNT; i++) {
        assert_false(seen[items[i]]);
        seen[items[i]] = true;
        in_place += items[i] == i;
    }
    assert_true(in_place < 10);
    rng_shuffle(6, again, COUNT);
    assert_memory_not_equal(items, again, sizeof items);
    rng_shuffle(5, items, 0);
}

/* ---- errors, clock, cpu -------------------------------------------------------------- */

static void test_errors_name_status_field_and_reason(void **state) {
    (void)state;
    struct error err = {0};
    assert_int_equal(error_set(NULL, STATUS_BUSY, "%d", 1), STATUS_BUSY);
    assert_int_equal(error_set_field(&err, STATUS_INVALID, "top_p", "%d", 7), STATUS_INVALID);
    assert_int_equal(err.status, STATUS_INVALID);
    assert_string_equal(err.field, "top_p");
    assert_string_equal(err.message, "7");
    char text[1000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    error_set_field(&err, STATUS_IO, text, "%s", text); /* cut, not overrun */
    assert_int_equal(strlen(err.field), sizeof err.field - 1);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    errno = EACCES;
    assert_int_equal(error_set_errno(&err, "%s", text), STATUS_IO);
    errno = ENOENT;
    assert_int_equal(error_set_errno(&err, "file"), STATUS_NOT_FOUND);
    assert_string_equal(err.message, "file: No such file or directory");
}

static void test_time_never_goes_back(void **state) {
    (void)state;
    uint64_t before = clock_now_ns();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_now_ns();
        assert_true(now >= before);
        before = now;
    }
}

static void test_a_cpu_has_the_sets_that_its_sets_build_on(void **state) {
    (void)state;
    assert_true(cpu_count() >= 1 && cpu_count() <= 65536);
    assert_true(cpu_has_avx2() || !cpu_has_avx512());
    assert_true(cpu_has_avx512_vnni() || !cpu_has_amx_int8());
    assert_int_equal(cpu_has_amx_int8(), cpu_has_amx_int8()); /* what is permitted stays so */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_files_are_replaced_whole_or_not),
        SCRATCH_TEST(test_full_disk_loses_nothing),
        SCRATCH_TEST(test_writing_where_one_cannot),
        SCRATCH_TEST(test_copying_files),
        SCRATCH_TEST(test_reading_files),
        SCRATCH_TEST(test_folders),
        cmocka_unit_test(test_no_path_is_cut),
        cmocka_unit_test(test_the_program_finds_its_root),
        cmocka_unit_test(test_buffers_grow),
        cmocka_unit_test(test_buffers_remember_failure),
        cmocka_unit_test(test_arenas_measure_and_serve),
        cmocka_unit_test(test_rng_is_a_pure_function),
        cmocka_unit_test(test_rng_is_uniform_and_normal),
        cmocka_unit_test(test_neighbouring_seeds_are_strangers),
        cmocka_unit_test(test_shuffle_permutes),
        cmocka_unit_test(test_errors_name_status_field_and_reason),
        cmocka_unit_test(test_time_never_goes_back),
        cmocka_unit_test(test_a_cpu_has_the_sets_that_its_sets_build_on),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
