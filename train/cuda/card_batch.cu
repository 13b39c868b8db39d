#include "train/cuda/card_batch.h"

#include "train/cuda/row_kernels.h"

#include <string.h>

static void take(struct row_arrays *a, size_t rows, const struct card_batch *b,
                 struct arena *arena) {
    a->ids = (int32_t *)arena_take(arena, rows, sizeof(int32_t));
    a->targets = (int32_t *)arena_take(arena, rows, sizeof(int32_t));
    a->positions = (int32_t *)arena_take(arena, rows, sizeof(int32_t));
    a->lengths = (int32_t *)arena_take(arena, rows, sizeof(int32_t));
    a->order = (int32_t *)arena_take(arena, rows, sizeof(int32_t));
    a->starts = (int32_t *)arena_take(arena, (size_t)b->vocab + 1, sizeof(int32_t));
    a->at = (struct dropout_row *)arena_take(arena, rows, sizeof *a->at);
    a->tiles = (struct attention_tile *)arena_take(arena, rows, sizeof *a->tiles);
}

static void layout_host(void *context, struct arena *arena) {
    struct card_batch *b = (struct card_batch *)context;
    take(&b->host, (size_t)b->max_rows, b, arena);
}

/* The arrays first, so that both arenas begin alike and one copy fills them all; the keys behind
 * them stay where they are. */
static void layout_card(void *context, struct arena *arena) {
    struct card_batch *b = (struct card_batch *)context;
    take(&b->card, (size_t)b->max_rows, b, arena);
    b->keys = (uint32_t *)arena_take(
        arena, (size_t)b->layers * (size_t)b->sites * (size_t)b->max_rows, sizeof(uint32_t));
}

enum status card_batch_create(struct card_batch *b, const struct model_config *config,
                              int max_rows, struct error *err) {
    *b = (struct card_batch){};
    b->max_rows = max_rows;
    b->vocab = config->vocab;
    b->layers = config->layers;
    b->sites = DROPOUT_ATTENTION + config->heads;
    TRY(arena_build(&b->host_arena, layout_host, b, err));
    TRY(card_arena_build(&b->card_arena, layout_card, b, err));
    TRY(card_status(cudaHostRegister(b->host_arena.memory, b->host_arena.size, 0), "memory", err));
    return card_status(cudaEventCreate(&b->copied), "event", err);
}

void card_batch_destroy(struct card_batch *b) {
    if (b->copied) {
        cudaEventDestroy(b->copied);
        cudaHostUnregister(b->host_arena.memory);
    }
    arena_destroy(&b->host_arena);
    card_arena_destroy(&b->card_arena);
    *b = (struct card_batch){};
}

/* Moves the arrays together for so many rows, so that no more is copied than these. */
static void fit_arrays(struct card_batch *b, size_t rows) {
    b->host_arena.used = b->card_arena.used = 0;
    take(&b->host, rows, b, &b->host_arena);
    take(&b->card, rows, b, &b->card_arena);
}

/* Rows sorted by their id; those of the same id stay in their order. */
static void sort_rows(struct row_arrays *a, int rows, int vocab) {
    memset(a->starts, 0, ((size_t)vocab + 1) * sizeof *a->starts);
    for (int row = 0; row < rows; row++)
        a->starts[a->ids[row] + 1]++;
    for (int id = 0; id < vocab; id++)
        a->starts[id + 1] += a->starts[id];
    for (int row = 0; row < rows; row++)
        a->order[a->starts[a->ids[row]]++] = row;
    for (int id = vocab; id > 0; id--) /* each start has moved to the next one */
        a->starts[id] = a->starts[id - 1];
    a->starts[0] = 0;
}

static void fill_spans(struct card_batch *b, const struct batch *from) {
    int first = 0;
    b->tile_count = 0;
    for (int s = 0; s < from->span_count; s++) {
        int rows = from->spans[s].rows;
        for (int row = 0; row < rows; row++) {
            b->host.positions[first + row] = row;
            b->host.lengths[first + row] = rows;
        }
        for (int begin = 0; begin < rows; begin += ATTENTION_TILE)
            b->host.tiles[b->tile_count++] = (struct attention_tile){first, rows, begin};
        first += rows;
    }
}

static void make_keys(struct card_batch *b, const struct dropout *dropout) {
    struct key_pass keys = {dropout->key, b->card.at, b->rows, b->layers, b->sites, b->max_rows,
                            b->keys};
    launch_dropout_keys(&keys);
}

enum status card_batch_fill(struct card_batch *b, const struct batch *from,
                            const int32_t *targets, struct error *err) {
    size_t rows = (size_t)from->rows;
    TRY(card_status(cudaEventSynchronize(b->copied), "the copy of a batch", err));
    b->rows = from->rows;
    b->unmasked = from->unmasked;
    b->dropout = from->dropout.rate;
    fit_arrays(b, rows);
    memcpy(b->host.ids, from->ids, rows * sizeof(int32_t));
    memcpy(b->host.targets, targets, rows * sizeof(int32_t));
    sort_rows(&b->host, from->rows, b->vocab);
    fill_spans(b, from);
    if (b->dropout > 0)
        memcpy(b->host.at, from->dropout.rows, rows * sizeof *b->host.at);
    TRY(card_status(cudaMemcpyAsync(b->card_arena.memory, b->host_arena.memory,
                                    b->host_arena.used, cudaMemcpyHostToDevice, CARD_STREAM),
                    "the copy of a batch", err));
    TRY(card_status(cudaEventRecord(b->copied, CARD_STREAM), "the copy of a batch", err));
    if (b->dropout > 0)
        make_keys(b, &from->dropout);
    return STATUS_OK;
}

struct row_dropout card_batch_dropout(const struct card_batch *b, int layer, int site) {
    size_t place = (size_t)layer * (size_t)b->sites + (size_t)site;
    if (b->dropout <= 0)
        return (struct row_dropout){};
    return (struct row_dropout){b->keys + place * (size_t)b->max_rows,
                                dropout_threshold(b->dropout), dropout_scale(b->dropout)};
}
