#include "train/data/dataset.h"

#include "base/rng.h"

#include <assert.h>
#include <stdlib.h>

struct batch_cutter {
    const struct dataset *dataset;
    struct batch_plan plan;
    struct batch_cursor cursor;
    int32_t *order;         /* [dataset->stories], of epoch `ordered` */
    uint64_t ordered;
    size_t story_capacity;  /* of story[] and lengths[] */
    int32_t *story, *lengths, *inputs, *targets;
    struct story_batch batch; /* points into those four */
};

/* What is handed out of a story this time: its bos, then its ids from `first` on. */
struct view {
    const uint16_t *ids; /* [first + rows], of the story */
    size_t first;        /* 1 unless the story is cropped */
    size_t rows;
};

static size_t limit_rows(const struct batch_plan *plan, size_t rows) {
    return plan->positions && rows > plan->positions - 1 ? plan->positions - 1 : rows;
}

static struct view look_at(const struct batch_cutter *cutter, int32_t story) {
    const struct dataset *dataset = cutter->dataset;
    const struct batch_plan *plan = &cutter->plan;
    size_t count = (size_t)(dataset->offsets[story + 1] - dataset->offsets[story]), first = 1;
    const uint16_t *ids = dataset->ids + dataset->offsets[story];
    if (plan->crop > 0 && count > CROP_LEFT + 2) {
        uint64_t key = rng_derive(rng_derive(plan->seed, 0x63726f70 /* "crop" */),
                                  cutter->cursor.epoch);
        uint64_t place = (uint64_t)story * 2;
        if (rng_uniform(key, place) < plan->crop)
            first = 2 + rng_bits(key, place + 1) % (count - CROP_LEFT - 2);
    }
    return (struct view){ids, first, limit_rows(plan, count - first)};
}

/* The most stories and rows a batch of this plan can have. */
static bool measure(const struct dataset *dataset, const struct batch_plan *plan, size_t *stories,
                    size_t *rows) {
    size_t longest = limit_rows(plan, dataset->longest_rows);
    *stories = plan->max_stories;
    *rows = plan->max_rows > longest ? plan->max_rows : longest;
    if (!*stories || (plan->max_rows && *stories > *rows))
        *stories = *rows; /* every story has at least one row */
    if (plan->once && *stories > dataset->stories)
        *stories = dataset->stories;
    if (*stories > SIZE_MAX / sizeof(int32_t) / longest)
        return false;
    if (!plan->max_rows || *rows > *stories * longest)
        *rows = *stories * longest;
    return true;
}

static void put_in_order(struct batch_cutter *cutter) {
    cutter->ordered = cutter->cursor.epoch;
    if (cutter->plan.shuffle) {
        dataset_order(cutter->dataset, cutter->plan.seed, cutter->ordered, cutter->order);
        return;
    }
    for (size_t i = 0; i < cutter->dataset->stories; i++)
        cutter->order[i] = (int32_t)i;
}

enum status batch_cutter_open(struct batch_cutter **out, const struct dataset *dataset,
                              const struct batch_plan *plan, struct batch_cursor start,
                              struct error *err) {
    *out = NULL;
    assert(plan->max_stories || plan->max_rows);
    if (start.index >= dataset->stories)
        return error_set(err, STATUS_INVALID, "story %llu of an epoch of %zu: not the data that "
                         "the run began with", (unsigned long long)start.index, dataset->stories);
    size_t stories, rows;
    struct batch_cutter *cutter = calloc(1, sizeof *cutter);
    if (cutter && measure(dataset, plan, &stories, &rows)) {
        cutter->order = malloc(dataset->stories * sizeof *cutter->order);
        cutter->story = malloc(stories * sizeof *cutter->story);
        cutter->lengths = malloc(stories * sizeof *cutter->lengths);
        cutter->inputs = malloc(rows * sizeof *cutter->inputs);
        cutter->targets = malloc(rows * sizeof *cutter->targets);
    }
    if (!cutter || !cutter->order || !cutter->story || !cutter->lengths || !cutter->inputs ||
        !cutter->targets) {
        batch_cutter_close(cutter);
        return error_set(err, STATUS_NO_MEMORY, "no memory for the batches");
    }
    cutter->dataset = dataset;
    cutter->plan = *plan;
    cutter->cursor = start;
    cutter->story_capacity = stories;
    put_in_order(cutter);
    *out = cutter;
    return STATUS_OK;
}

void batch_cutter_close(struct batch_cutter *cutter) {
    if (!cutter)
        return;
    free(cutter->order);
    free(cutter->story);
    free(cutter->lengths);
    free(cutter->inputs);
    free(cutter->targets);
    free(cutter);
}

static void add_story(struct batch_cutter *cutter, int32_t story, const struct view *view) {
    struct story_batch *batch = &cutter->batch;
    int32_t *inputs = cutter->inputs + batch->rows, *targets = cutter->targets + batch->rows;
    const uint16_t *next = view->ids + view->first;
    inputs[0] = view->ids[0];
    targets[0] = view->first == 1 ? *next : -1;
    for (size_t row = 1; row < view->rows; row++, next++) {
        inputs[row] = next[0];
        targets[row] = next[1];
    }
    cutter->story[batch->stories] = story;
    cutter->lengths[batch->stories] = (int32_t)view->rows;
    batch->stories++;
    batch->rows += view->rows;
}

static bool has_room(const struct batch_cutter *cutter, size_t rows) {
    const struct story_batch *batch = &cutter->batch;
    if (batch->stories == 0)
        return true;
    return batch->stories < cutter->story_capacity &&
           (!cutter->plan.max_rows || batch->rows + rows <= cutter->plan.max_rows);
}

const struct story_batch *batch_cutter_next(struct batch_cutter *cutter) {
    struct batch_cursor *cursor = &cutter->cursor;
    cutter->batch = (struct story_batch){.story = cutter->story, .lengths = cutter->lengths,
                                         .inputs = cutter->inputs, .targets = cutter->targets};
    while (!(cutter->plan.once && cursor->epoch > 0)) {
        if (cutter->ordered != cursor->epoch)
            put_in_order(cutter);
        int32_t story = cutter->order[cursor->index];
        struct view view = look_at(cutter, story);
        if (!has_room(cutter, view.rows))
            break;
        add_story(cutter, story, &view);
        if (++cursor->index == cutter->dataset->stories)
            *cursor = (struct batch_cursor){.epoch = cursor->epoch + 1};
    }
    return &cutter->batch;
}

struct batch_cursor batch_cutter_cursor(const struct batch_cutter *cutter) {
    return cutter->cursor;
}
