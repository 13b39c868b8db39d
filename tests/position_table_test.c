/* The position table: what the C library's functions say, in the same bits everywhere. */
#include "base/hash.h"
#include "model/position_table.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static float *table_of(int positions, int d_model) {
    float *table = malloc((size_t)positions * (size_t)d_model * sizeof *table);
    assert_non_null(table);
    position_table_fill(table, positions, d_model);
    return table;
}

static void test_entries_are_sines_and_cosines(void **state) {
    (void)state;
    static const int widths[] = {1, 7, 64, 512};
    const int positions = 5000;
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        float *table = table_of(positions, widths[w]);
        for (int p = 0; p < positions; p++)
            for (int i = 0; i < widths[w]; i++) {
                double angle = p / pow(10000, (double)(i / 2 * 2) / widths[w]);
                double expected = i % 2 ? cos(angle) : sin(angle);
                if (!(fabs((double)table[(size_t)p * (size_t)widths[w] + i] - expected) < 4e-8))
                    fail_msg("position %d, column %d of %d", p, i, widths[w]);
            }
        free(table);
    }
}

/* Also where the C library is another one. */
static void test_bits_are_the_same_everywhere(void **state) {
    (void)state;
    float *table = table_of(256, 512);
    uint64_t hash = hash_bytes(0, table, 256 * 512 * sizeof *table);
    if (hash != UINT64_C(0x847ad31b6ab9fc7f))
        fail_msg("the table's hash is %016" PRIx64, hash);
    free(table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries_are_sines_and_cosines),
        cmocka_unit_test(test_bits_are_the_same_everywhere),
    };
    return cmocka_run_group_tests_name("position table", tests, NULL, NULL);
}
