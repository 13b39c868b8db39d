#include "train/data/dataset.h"

#include "base/arena.h"
#include "base/rng.h"

#include <assert.h>
#include <stdlib.h>

/* Stories and how far they have been handed out. */
struct source {
    const struct dataset *dataset; /* NULL: nothing is mixed in */
    uint64_t seed;
    uint64_t epoch, index;
    int32_t *order; /* [dataset->stories], of epoch `ordered` */
    uint64_t ordered;
};

struct data_loader {
    struct source stories, mixed;
    struct data_loader_options options;
    double mix_share;
    size_t mixed_rows; /* of the batch */
    size_t story_capacity, row_capacity;
    int32_t *lengths;          /* [story_capacity] */
    int32_t *inputs, *targets; /* [row_capacity] */
    struct story_batch batch;  /* points into those three */
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

static struct view view_of(const struct data_loader_options *options, const struct source *source,
                           int32_t story) {
    const struct dataset *dataset = source->dataset;
    size_t count = (size_t)(dataset->offsets[story + 1] - dataset->offsets[story]), first = 1;
    const uint16_t *ids = dataset->ids + dataset->offsets[story];
    if (options->random_crop > 0 && count > RANDOM_CROP_MIN_IDS + 2) {
        uint64_t key =
            rng_derive(rng_derive(source->seed, 0x63726f70 /* "crop" */), source->epoch);
        uint64_t place = (uint64_t)story * 2;
        if (rng_uniform(key, place) < options->random_crop)
            first = 2 + rng_bits(key, place + 1) % (count - RANDOM_CROP_MIN_IDS - 2);
    }
    return (struct view){ids, first, limit_rows(options, count - first)};
}

/* The most stories and rows that a batch can have; false when they are too many to count. */
static bool set_capacity(struct data_loader *loader) {
    const struct data_loader_options *o = &loader->options;
    size_t longest = loader->stories.dataset->longest_rows, stories = o->max_stories;
    if (o->mix && o->mix->longest_rows > longest)
        longest = o->mix->longest_rows;
    longest = limit_rows(o, longest);
    size_t rows = o->max_rows > longest ? o->max_rows : longest;
    if (!stories || (o->max_rows && stories > rows))
        stories = rows; /* every story has at least one row */
    if (o->once && stories > loader->stories.dataset->stories)
        stories = loader->stories.dataset->stories;
    if (stories > SIZE_MAX / 32 / longest)
        return false;
    loader->story_capacity = stories;
    loader->row_capacity = o->max_rows && rows < stories * longest ? rows : stories * longest;
    return true;
}

static void put_in_order(struct source *source, bool shuffle) {
    source->ordered = source->epoch;
    if (shuffle) {
        dataset_order(source->dataset, source->seed, source->ordered, source->order);
        return;
    }
    for (size_t i = 0; i < source->dataset->stories; i++)
        source->order[i] = (int32_t)i;
}

static void layout(void *context, struct arena *arena) {
    struct data_loader *l = context;
    l->stories.order = arena_take(arena, l->stories.dataset->stories, sizeof(int32_t));
    if (l->mixed.dataset)
        l->mixed.order = arena_take(arena, l->mixed.dataset->stories, sizeof(int32_t));
    l->lengths = arena_take(arena, l->story_capacity, sizeof *l->lengths);
    l->inputs = arena_take(arena, l->row_capacity, sizeof *l->inputs);
    l->targets = arena_take(arena, l->row_capacity, sizeof *l->targets);
}

enum status data_loader_open(struct data_loader **out, const struct dataset *dataset,
                             const struct data_loader_options *options,
                             struct data_loader_state start, struct error *err) {
    *out = NULL;
    assert(options->max_stories || options->max_rows);
    if (start.index >= dataset->stories ||
        (options->mix && start.mix_index >= options->mix->stories))
        return error_set(err, STATUS_INVALID, "story %llu of an epoch of %zu: not the data that "
                         "the run began with", (unsigned long long)start.index, dataset->stories);
    struct data_loader *loader = malloc(sizeof *loader);
    if (!loader)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the batches");
    *loader = (struct data_loader){
        .stories = {dataset, options->seed, start.epoch, start.index, NULL, 0},
        .mixed = {options->mix, rng_derive(options->seed, 0x6d6978 /* "mix" */), start.mix_epoch,
                  start.mix_index, NULL, 0},
        .options = *options,
    };
    enum status status = set_capacity(loader)
                             ? arena_build(&loader->arena, layout, loader, err)
                             : error_set(err, STATUS_NO_MEMORY, "no memory for the batches");
    if (status != STATUS_OK) {
        data_loader_close(loader);
        return status;
    }
    put_in_order(&loader->stories, options->shuffle);
    if (options->mix)
        put_in_order(&loader->mixed, options->shuffle);
    *out = loader;
    return STATUS_OK;
}

void data_loader_close(struct data_loader *loader) {
    if (!loader)
        return;
    arena_destroy(&loader->arena);
    free(loader);
}

static void add_story(struct data_loader *loader, const struct view *view) {
    struct story_batch *batch = &loader->batch;
    int32_t *inputs = loader->inputs + batch->rows, *targets = loader->targets + batch->rows;
    const uint16_t *next = view->ids + view->first;
    inputs[0] = view->ids[0];
    targets[0] = view->first == 1 ? *next : -1;
    for (size_t row = 1; row < view->rows; row++, next++) {
        inputs[row] = next[0];
        targets[row] = next[1];
    }
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

/* A batch begins with a story that is mixed in; another follows where the share is not reached. */
static bool wants_mixed(const struct data_loader *loader) {
    return loader->mix_share > 0 &&
           (double)loader->mixed_rows <= loader->mix_share * (double)loader->batch.rows;
}

/* False when the batch has no room for the source's next story. */
static bool take_story(struct data_loader *loader, struct source *source) {
    if (source->ordered != source->epoch)
        put_in_order(source, loader->options.shuffle);
    struct view view = view_of(&loader->options, source, source->order[source->index]);
    if (!has_room(loader, view.rows))
        return false;
    add_story(loader, &view);
    if (source == &loader->mixed)
        loader->mixed_rows += view.rows;
    if (++source->index == source->dataset->stories) {
        source->index = 0;
        source->epoch++;
    }
    return true;
}

const struct story_batch *data_loader_next(struct data_loader *loader) {
    loader->batch = (struct story_batch){
        .lengths = loader->lengths, .inputs = loader->inputs, .targets = loader->targets};
    loader->mixed_rows = 0;
    while (!(loader->options.once && loader->stories.epoch > 0) &&
           take_story(loader, wants_mixed(loader) ? &loader->mixed : &loader->stories)) {
    }
    return &loader->batch;
}

void data_loader_set_mix(struct data_loader *loader, double share) {
    assert(loader->mixed.dataset || share <= 0);
    loader->mix_share = share;
}

struct data_loader_state data_loader_state(const struct data_loader *loader) {
    return (struct data_loader_state){loader->stories.epoch, loader->stories.index,
                                      loader->mixed.epoch, loader->mixed.index};
}
