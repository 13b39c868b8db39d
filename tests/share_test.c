/* How the stories of a step are divided among ranks: all of them, evenly, and each once. */
#include "tests/support/tiny_model.h"
#include "train/data/share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { STORIES = 300, MOST_RANKS = 7 };

static struct dataset dataset;
static struct story_batch batch;

static int setup(void **state) {
    (void)state;
    dataset = tiny_dataset(STORIES, 5);
    batch = tiny_batch(&dataset);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tiny_batch_free(&batch);
    dataset_free(&dataset);
    return 0;
}

static void one_rank_takes_all_in_order(void **state) {
    (void)state;
    struct share share;
    struct shared_story story;
    size_t load, place = 0, row = 0;
    for (share_begin(&share, &batch, 0, 1, &load); share_next(&share, &story); place++) {
        assert_int_equal(story.place, place);
        assert_int_equal(story.row, row);
        assert_int_equal(story.rows, batch.lengths[place]);
        row += (size_t)story.rows;
    }
    assert_int_equal(place, STORIES);
    assert_int_equal(row, batch.rows);
}

static size_t first_row(size_t place) {
    size_t row = 0;
    for (size_t i = 0; i < place; i++)
        row += (size_t)batch.lengths[i];
    return row;
}

/* Stories of up to 200 rows, so that there are several bands. */
static void stretch(void) {
    int32_t *lengths = (int32_t *)(uintptr_t)batch.lengths;
    batch.rows = 0;
    for (size_t i = 0; i < STORIES; i++) {
        lengths[i] = (int32_t)(1 + i * 7919 % 200);
        batch.rows += (size_t)lengths[i];
    }
}

static void several_ranks_take_every_story_once(void **state) {
    (void)state;
    stretch();
    for (int ranks = 2; ranks <= MOST_RANKS; ranks++) {
        size_t loads[MOST_RANKS], taken[MOST_RANKS] = {0}, most = 0;
        bool seen[STORIES] = {false};
        for (int rank = 0; rank < ranks; rank++) {
            struct share share;
            struct shared_story story;
            share_begin(&share, &batch, rank, ranks, loads);
            while (share_next(&share, &story)) {
                assert_false(seen[story.place]);
                seen[story.place] = true;
                assert_int_equal(story.row, first_row(story.place));
                assert_int_equal(story.rows, batch.lengths[story.place]);
                taken[rank] += (size_t)story.rows;
            }
            most = taken[rank] > most ? taken[rank] : most;
        }
        for (size_t i = 0; i < STORIES; i++)
            assert_true(seen[i]);
        size_t mean = batch.rows / (size_t)ranks;
        assert_in_range(most, mean, mean + SHARE_BAND);
    }
}

static void more_ranks_than_stories_leave_some_without(void **state) {
    (void)state;
    batch.stories = 3;
    size_t loads[MOST_RANKS], stories = 0;
    for (int rank = 0; rank < MOST_RANKS; rank++) {
        struct share share;
        struct shared_story story;
        share_begin(&share, &batch, rank, MOST_RANKS, loads);
        int own = 0;
        while (share_next(&share, &story))
            own++;
        assert_in_range(own, 0, 1);
        stories += (size_t)own;
    }
    assert_int_equal(stories, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_rank_takes_all_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(several_ranks_take_every_story_once, setup, teardown),
        cmocka_unit_test_setup_teardown(more_ranks_than_stories_leave_some_without, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
