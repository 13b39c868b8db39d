#include "train/data/dataset.h"

#include "base/arena.h"
#include "base/rng.h"

#include <assert.h>
#include <stdlib.h>

struct data_loader {
    const struct dataset *dataset;
    struct data_loader_options options;
    struct data_loader_state state;
    int32_t *order; /* [dataset->stories], of epoch `ordered` */
    uint64_t ordered;
    size_t story_capacity, row_capacity;
    int32_t *story, *lengths;   /* [story_capacity] */
    int32_t *inputs, *targets;  /* [row_capacity] */
    struct story_batch batch;   /* points into those four */
    struct arena arena;
};

/* What is handed out of a story this time: its bos, then its ids from `first` on. */
struct view {
    const uint16_t *ids; /* [first + rows], of the story */
    size_t first;        /* 1 unless it is a random crop */
    size_t rows;
};

static size_t limit_rows(const struct data_loader_options *options, size_t rows) {
    return options->positions && rows > options->positions - 1 ? options->positions - 1 : rows;
}

static struct view view_of(const struct data_loader *loader, int32_t story) {
    const struct dataset *dataset = loader->dataset;
    const struct data_loader_options *options = &loader->options;
    size_t count = (size_t)(dataset->offsets[story + 1] - dataset->offsets[story]), first = 1;
    const uint16_t *ids = dataset->ids + dataset->offsets[story];
    if (options->random_crop > 0 && count > RANDOM_CROP_MIN_IDS + 2) {
        uint64_t key =
            rng_derive(rng_derive(options->seed, 0x63726f70 /* "crop" */), loader->state.epoch);
        uint64_t place = (uint64_t)story * 2;
        if (rng_uniform(key, place) < options->random_crop)
            first = 2 + rng_bits(key, place + 1) % (count - RANDOM_CROP_MIN_IDS - 2);
    }
    return (struct view){ids, first, limit_rows(options, count - first)};
}

/* The most stories and rows that a batch can have; false when they are too many to count. */
static bool set_capacity(struct data_loader *loader) {
    const struct data_loader_options *o = &loader->options;
    size_t longest = limit_rows(o, loader->dataset->longest_rows), stories = o->max_stories;
    size_t rows = o->max_rows > longest ? o->max_rows : longest;
    if (!stories || (o->max_rows && stories > rows))
        stories = rows; /* every story has at least one row */
    if (o->once && stories > loader->dataset->stories)
        stories = loader->dataset->stories;
    if (stories > SIZE_MAX / 32 / longest)
        return false;
    loader->story_capacity = stories;
    loader->row_capacity = o->max_rows && rows < stories * longest ? rows : stories * longest;
    return true;
}

static void put_in_order(struct data_loader *loader) {
    loader->ordered = loader->state.epoch;
    if (loader->options.shuffle) {
        dataset_order(loader->dataset, loader->options.seed, loader->ordered, loader->order);
        return;
    }
    for (size_t i = 0; i < loader->dataset->stories; i++)
        loader->order[i] = (int32_t)i;
}

static void layout(void *context, struct arena *arena) {
    struct data_loader *l = context;
    l->order = arena_take(arena, l->dataset->stories, sizeof *l->order);
    l->story = arena_take(arena, l->story_capacity, sizeof *l->story);
    l->lengths = arena_take(arena, l->story_capacity, sizeof *l->lengths);
    l->inputs = arena_take(arena, l->row_capacity, sizeof *l->inputs);
    l->targets = arena_take(arena, l->row_capacity, sizeof *l->targets);
}

enum status data_loader_open(struct data_loader **out, const struct dataset *dataset,
                             const struct data_loader_options *options,
                             struct data_loader_state start, struct error *err) {
    *out = NULL;
    assert(options->max_stories || options->max_rows);
    if (start.index >= dataset->stories)
        return error_set(err, STATUS_INVALID, "story %llu of an epoch of %zu: not the data that "
                         "the run began with", (unsigned long long)start.index, dataset->stories);
    struct data_loader *loader = malloc(sizeof *loader);
    if (!loader)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the batches");
    *loader = (struct data_loader){.dataset = dataset, .options = *options, .state = start};
    enum status status = set_capacity(loader)
                             ? arena_build(&loader->arena, layout, loader, err)
                             : error_set(err, STATUS_NO_MEMORY, "no memory for the batches");
    if (status != STATUS_OK) {
        data_loader_close(loader);
        return status;
    }
    put_in_order(loader);
    *out = loader;
    return STATUS_OK;
}

void data_loader_close(struct data_loader *loader) {
    if (!loader)
        return;
    arena_destroy(&loader->arena);
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
           (!loader->options.max_rows || batch->rows + rows <= loader->options.max_rows);
}

const struct story_batch *data_loader_next(struct data_loader *loader) {
    struct data_loader_state *state = &loader->state;
    loader->batch = (struct story_batch){.story = loader->story,
                                         .lengths = loader->lengths,
                                         .inputs = loader->inputs,
                                         .targets = loader->targets};
    while (!(loader->options.once && state->epoch > 0)) {
        if (loader->ordered != state->epoch)
            put_in_order(loader);
        int32_t story = loader->order[state->index];
        struct view view = view_of(loader, story);
        if (!has_room(loader, view.rows))
            break;
        add_story(loader, story, &view);
        if (++state->index == loader->dataset->stories)
            *state = (struct data_loader_state){.epoch = state->epoch + 1};
    }
    return &loader->batch;
}

struct data_loader_state data_loader_state(const struct data_loader *loader) {
    return loader->state;
}
