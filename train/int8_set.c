#include "train/int8_set.h"

#include "base/arena.h"
#include "base/pool.h"
#include "engine/kernels/kernels.h"
#include "engine/linear_int8.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_ROWS = 96 }; /* of activations at a time, so that they stay in the second cache */

struct int8_room {
    uint8_t *bytes;                     /* [BLOCK_ROWS, row_bytes] */
    float *products;                    /* [BLOCK_ROWS, widest input] */
    struct row_form forms[BLOCK_ROWS];
};

struct int8_rooms {
    size_t row_bytes;
    struct int8_room *workers;
};

struct int8_set {
    int count;
    struct linear **linears;         /* [count] */
    struct int8_matrix *forward;     /* [count] */
    struct int8_gradient *gradients; /* [count] */
    float *no_bias;                  /* [widest input], zeros */
    float *columns;                  /* [workers, INT8_PANEL, widest output] */
    size_t widest_in, widest_out;
    struct int8_rooms rooms;
    struct arena arena;
};

/* ---- memory --------------------------------------------------------------- */

static void measure_widths(struct int8_set *set, struct linear *const *linears, int count) {
    for (int i = 0; i < count; i++) {
        size_t in = (size_t)linears[i]->in, out = (size_t)linears[i]->out;
        set->widest_in = in > set->widest_in ? in : set->widest_in;
        set->widest_out = out > set->widest_out ? out : set->widest_out;
    }
    set->rooms.row_bytes = (set->widest_out + LINEAR_ALIGNMENT - 1) / LINEAR_ALIGNMENT *
                           LINEAR_ALIGNMENT;
}

static void layout(struct int8_set *set, struct linear *const *linears, int workers,
                   struct arena *arena) {
    size_t count = (size_t)set->count;
    set->linears = arena_take(arena, count, sizeof(struct linear *));
    set->forward = arena_take(arena, count, sizeof *set->forward);
    set->gradients = arena_take(arena, count, sizeof *set->gradients);
    set->no_bias = arena_take(arena, set->widest_in, sizeof(float));
    set->columns = arena_take(arena, (size_t)workers * INT8_PANEL * set->widest_out, sizeof(float));
    set->rooms.workers = arena_take(arena, (size_t)workers, sizeof *set->rooms.workers);
    for (int i = 0; i < workers; i++) {
        struct int8_room room = {
            .bytes = arena_take(arena, BLOCK_ROWS * set->rooms.row_bytes, 1),
            .products = arena_take(arena, BLOCK_ROWS * set->widest_in, sizeof(float))};
        if (arena->memory)
            set->rooms.workers[i] = room;
    }
    for (size_t i = 0; i < count; i++) {
        struct int8_matrix forward, gradient;
        int8_matrix_layout(&forward, linears[i]->in, linears[i]->out, arena);
        int8_matrix_layout(&gradient, linears[i]->out, linears[i]->in, arena);
        if (!arena->memory)
            continue;
        set->linears[i] = linears[i];
        set->forward[i] = forward;
        set->gradients[i] = (struct int8_gradient){gradient, &set->rooms};
    }
}

enum status int8_set_create(struct int8_set **out, struct linear *const *linears, int count,
                            struct pool *pool, struct error *err) {
    *out = NULL;
    struct int8_set *set = calloc(1, sizeof *set);
    if (!set)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the INT8 weights");
    set->count = count;
    measure_widths(set, linears, count);
    struct arena measure = {0};
    layout(set, linears, pool_workers(pool), &measure);
    enum status status = arena_create(&set->arena, measure.used, err);
    if (status != STATUS_OK) {
        free(set);
        return status;
    }
    layout(set, linears, pool_workers(pool), &set->arena);
    for (int i = 0; i < count; i++) {
        linears[i]->numeric = NUMERIC_INT8;
        linears[i]->int8 = &set->forward[i];
        linears[i]->int8_gradient = &set->gradients[i];
    }
    int8_set_refresh(set, pool);
    *out = set;
    return STATUS_OK;
}

void int8_set_destroy(struct int8_set *set) {
    if (!set)
        return;
    for (int i = 0; i < set->count; i++) {
        set->linears[i]->numeric = NUMERIC_F32;
        set->linears[i]->int8 = NULL;
        set->linears[i]->int8_gradient = NULL;
    }
    arena_destroy(&set->arena);
    free(set);
}

/* ---- quantising ----------------------------------------------------------- */

/* Columns [first, first + count) of W, turned into lines of their own. */
static void quantise_columns(const struct int8_set *set, int i, size_t first, size_t count,
                             float *columns) {
    const struct linear *l = set->linears[i];
    size_t in = (size_t)l->in, out = (size_t)l->out;
    for (size_t o = 0; o < out; o++)
        for (size_t c = 0; c < count; c++)
            columns[c * out + o] = l->weight[o * in + first + c];
    int8_matrix_fill_rows(&set->gradients[i].matrix, first, count, columns, set->no_bias);
}

/* Panel by panel in turn, so that matrices of any size spread over the workers. */
static void refresh_worker(void *context, int worker, int workers) {
    const struct int8_set *set = context;
    float *columns = set->columns + (size_t)worker * INT8_PANEL * set->widest_out;
    size_t item = 0;
    for (int i = 0; i < set->count; i++) {
        const struct linear *l = set->linears[i];
        size_t in = (size_t)l->in, out = (size_t)l->out;
        for (size_t o = 0; o < out; o += INT8_PANEL, item++)
            if (item % (size_t)workers == (size_t)worker)
                int8_matrix_fill_rows(&set->forward[i], o,
                                      out - o < INT8_PANEL ? out - o : INT8_PANEL,
                                      l->weight + o * in, l->bias + o);
        for (size_t c = 0; c < in; c += INT8_PANEL, item++)
            if (item % (size_t)workers == (size_t)worker)
                quantise_columns(set, i, c, in - c < INT8_PANEL ? in - c : INT8_PANEL, columns);
    }
}

void int8_set_refresh(struct int8_set *set, struct pool *pool) {
    pool_run(pool, refresh_worker, set);
}

/* ---- products ------------------------------------------------------------- */

static void block_gradient(const struct int8_matrix *m, const struct int8_rooms *rooms,
                           struct int8_room *room, const float *dy, size_t rows, float *dx,
                           bool add) {
    const struct kernels *k = kernels_get();
    size_t panels = (m->out + INT8_PANEL - 1) / INT8_PANEL;
    for (size_t r = 0; r < rows; r++)
        k->quantise_row(room->bytes + r * rooms->row_bytes, rooms->row_bytes, &room->forms[r],
                        dy + r * m->in, m->in);
    int8_kernels_get()->linear(m, room->bytes, rooms->row_bytes, room->forms, rows, 0, panels,
                               add ? room->products : dx, m->out, false);
    if (add)
        k->add(dx, room->products, rows * m->out);
}

void int8_input_gradient(const struct linear *linear, int worker, const float *dy, size_t begin,
                         size_t end, float *dx, bool add) {
    const struct int8_gradient *g = linear->int8_gradient;
    struct int8_room *room = &g->rooms->workers[worker];
    for (size_t row = begin; row < end; row += BLOCK_ROWS)
        block_gradient(&g->matrix, g->rooms, room, dy + row * g->matrix.in,
                       end - row < BLOCK_ROWS ? end - row : BLOCK_ROWS, dx + row * g->matrix.out,
                       add);
}
