#include "train/data/dataset.h"

#include "base/rng.h"

#include <assert.h>
#include <stdlib.h>

struct data_loader {
    const struct dataset *dataset;
    struct data_loader_options plan;
    struct data_loader_state cursor;
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

static size_t limit_rows(const struct data_loader_options *plan, size_t rows) {
    return plan->positions && rows > plan->positions - 1 ? plan->positions - 1 : rows;
}

static struct view look_at(const struct data_loader *loader, int32_t story) {
    const struct dataset *dataset = loader->dataset;
    const struct data_loader_options *plan = &loader->plan;
    size_t count = (size_t)(dataset->offsets[story + 1] - dataset->offsets[story]), first = 1;
    const uint16_t *ids = dataset->ids + dataset->offsets[story];
    if (plan->crop > 0 && count > CROP_LEFT + 2) {
        uint64_t key =
            rng_derive(rng_derive(plan->seed, 0x63726f70 /* "crop" */), loader->cursor.epoch);
        uint64_t place = (uint64_t)story * 2;
        if (rng_uniform(key, place) < plan->crop)
            first = 2 + rng_bits(key, place + 1) % (count - CROP_LEFT - 2);
    }
    return (struct view){ids, first, limit_rows(plan, count - first)};
}

/* The most stories and rows a batch of this plan can have. */
static bool measure(const struct dataset *dataset, const struct data_loader_options *plan,
                    size_t *stories, size_t *rows) {
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

static void put_in_order(struct data_loader *loader) {
    loader->ordered = loader->cursor.epoch;
    if (loader->plan.shuffle) {
        dataset_order(loader->dataset, loader->plan.seed, loader->ordered, loader->order);
        return;
    }
    for (size_t i = 0; i < loader->dataset->stories; i++)
        loader->order[i] = (int32_t)i;
}

enum status data_loader_open(struct data_loader **out, const struct dataset *dataset,
                             const struct data_loader_options *plan, struct data_loader_state start,
                             struct error *err) {
    *out = NULL;
    assert(plan->max_stories || plan->max_rows);
    if (start.index >= dataset->stories)
        return error_set(err, STATUS_INVALID, "story %llu of an epoch of %zu: not the data that "
                         "the run began with", (unsigned long long)start.index, dataset->stories);
    size_t stories, rows;
    struct data_loader *loader = calloc(1, sizeof *loader);
    if (loader && measure(dataset, plan, &stories, &rows)) {
        loader->order = malloc(dataset->stories * sizeof *loader->order);
        loader->story = malloc(stories * sizeof *loader->story);
        loader->lengths = malloc(stories * sizeof *loader->lengths);
        loader->inputs = malloc(rows * sizeof *loader->inputs);
        loader->targets = malloc(rows * sizeof *loader->targets);
    }
    if (!loader || !loader->order || !loader->story || !loader->lengths || !loader->inputs ||
        !loader->targets) {
        data_loader_close(loader);
        return error_set(err, STATUS_NO_MEMORY, "no memory for the batches");
    }
    loader->dataset = dataset;
    loader->plan = *plan;
    loader->cursor = start;
    loader->story_capacity = stories;
    put_in_order(loader);
    *out = loader;
    return STATUS_OK;
}

void data_loader_close(struct data_loader *loader) {
    if (!loader)
        return;
    free(loader->order);
    free(loader->story);
    free(loader->lengths);
    free(loader->inputs);
    free(loader->targets);
    free(loader);
}

static void add_story(struct data_loader *loader, int32_t story, const struct view *view) {
    struct story_batch *batch = &loader->batch;
    int32_t *inputs = loader->inputs + batch->rows, *targets = loader->targets + batch->rows;
    const uint16_t *next = view->ids + view->first;
    inputs[0] = view->ids[0];
    targets[0] = view->first == 1 ? *next : -1;
    for (size_t row = 1; row < view->rows; row++, next++) {
        inputs[row] = next[0];
        targets[row] = next[1];
    }
    loader->story[batch->stories] = story;
    loader->lengths[batch->stories] = (int32_t)view->rows;
    batch->stories++;
    batch->rows += view->rows;
}

static bool has_room(const struct data_loader *loader, size_t rows) {
    const struct story_batch *batch = &loader->batch;
    if (batch->stories == 0)
        return true;
    return batch->stories < loader->story_capacity &&
           (!loader->plan.max_rows || batch->rows + rows <= loader->plan.max_rows);
}

const struct story_batch *data_loader_next(struct data_loader *loader) {
    struct data_loader_state *cursor = &loader->cursor;
    loader->batch = (struct story_batch){.story = loader->story,
                                         .lengths = loader->lengths,
                                         .inputs = loader->inputs,
                                         .targets = loader->targets};
    while (!(loader->plan.once && cursor->epoch > 0)) {
        if (loader->ordered != cursor->epoch)
            put_in_order(loader);
        int32_t story = loader->order[cursor->index];
        struct view view = look_at(loader, story);
        if (!has_room(loader, view.rows))
            break;
        add_story(loader, story, &view);
        if (++cursor->index == loader->dataset->stories)
            *cursor = (struct data_loader_state){.epoch = cursor->epoch + 1};
    }
    return &loader->batch;
}

struct data_loader_state data_loader_cursor(const struct data_loader *loader) {
    return loader->cursor;
}
