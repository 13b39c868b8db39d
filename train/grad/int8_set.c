#include "train/grad/int8_set.h"

#include "base/arena.h"
#include "base/pool.h"
#include "model/kernels/kernels.h"
#include "model/linear_int8.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_ROWS = 96 }; /* of gradients at a time, so that they stay in the second cache */
_Static_assert((int)BLOCK_ROWS <= (int)LINEAR_SCRATCH_ROWS, "a block has its scratch");

/* A worker's. */
struct int8_room {
    struct linear_scratch scratch;
    float *products; /* [BLOCK_ROWS, widest input] */
};

struct int8_set {
    int count;
    bool backward;                   /* input gradients too */
    struct linear **linears;         /* [count] */
    struct int8_matrix *forward;     /* [count] */
    struct int8_gradient *gradients; /* [count], or NULL */
    float *no_bias;                  /* [widest input], zeros */
    float *columns;                  /* [workers, INT8_PANEL, widest output] */
    int widest_in, widest_out;
    struct int8_room *rooms; /* [workers] */
    struct arena arena;
};

/* ---- memory --------------------------------------------------------------- */

static void measure_widths(struct int8_set *set, struct linear *const *linears, int count) {
    for (int i = 0; i < count; i++) {
        int in = linears[i]->in, out = linears[i]->out;
        set->widest_in = in > set->widest_in ? in : set->widest_in;
        set->widest_out = out > set->widest_out ? out : set->widest_out;
    }
}

static void layout(struct int8_set *set, struct linear *const *linears, int workers,
                   struct arena *arena) {
    size_t count = (size_t)set->count;
    set->linears = arena_take(arena, count, sizeof(struct linear *));
    set->forward = arena_take(arena, count, sizeof *set->forward);
    if (set->backward)
        set->gradients = arena_take(arena, count, sizeof *set->gradients);
    size_t widest_in = (size_t)set->widest_in, widest_out = (size_t)set->widest_out;
    set->no_bias = arena_take(arena, widest_in, sizeof(float));
    set->columns = arena_take(arena, (size_t)workers * INT8_PANEL * widest_out, sizeof(float));
    set->rooms = arena_take(arena, (size_t)workers, sizeof *set->rooms);
    for (int i = 0; i < workers; i++) {
        struct int8_room room;
        linear_scratch_layout(&room.scratch, set->widest_out, arena);
        room.products = arena_take(arena, BLOCK_ROWS * widest_in, sizeof(float));
        if (arena->memory)
            set->rooms[i] = room;
    }
    for (size_t i = 0; i < count; i++) {
        struct int8_matrix forward, gradient;
        int8_matrix_layout(&forward, linears[i]->in, linears[i]->out, arena);
        if (set->backward)
            int8_matrix_layout(&gradient, linears[i]->out, linears[i]->in, arena);
        if (!arena->memory)
            continue;
        set->linears[i] = linears[i];
        set->forward[i] = forward;
        if (set->backward)
            set->gradients[i] = (struct int8_gradient){gradient, set->rooms};
    }
}

enum status int8_set_create(struct int8_set **out, struct linear *const *linears, int count,
                            bool gradients, struct pool *pool, struct error *err) {
    *out = NULL;
    struct int8_set *set = calloc(1, sizeof *set);
    if (!set)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the INT8 weights");
    set->count = count;
    set->backward = gradients;
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
        linears[i]->dtype = DTYPE_INT8;
        linears[i]->int8 = &set->forward[i];
        linears[i]->int8_gradient = set->backward ? &set->gradients[i] : NULL;
    }
    int8_set_refresh(set, pool);
    *out = set;
    return STATUS_OK;
}

void int8_set_destroy(struct int8_set *set) {
    if (!set)
        return;
    for (int i = 0; i < set->count; i++) {
        set->linears[i]->dtype = DTYPE_F32;
        set->linears[i]->int8 = NULL;
        set->linears[i]->int8_gradient = NULL;
    }
    arena_destroy(&set->arena);
    free(set);
}

/* ---- quantizing ----------------------------------------------------------- */

/* Columns [first, first + count) of W, turned into lines of their own. */
static void quantize_columns(const struct int8_set *set, int i, size_t first, size_t count,
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
    float *columns = set->columns + (size_t)worker * INT8_PANEL * (size_t)set->widest_out;
    size_t item = 0;
    for (int i = 0; i < set->count; i++) {
        const struct linear *l = set->linears[i];
        size_t in = (size_t)l->in, out = (size_t)l->out;
        for (size_t o = 0; o < out; o += INT8_PANEL, item++)
            if (item % (size_t)workers == (size_t)worker)
                int8_matrix_fill_rows(&set->forward[i], o,
                                      out - o < INT8_PANEL ? out - o : INT8_PANEL,
                                      l->weight + o * in, l->bias + o);
        for (size_t c = 0; set->backward && c < in; c += INT8_PANEL, item++)
            if (item % (size_t)workers == (size_t)worker)
                quantize_columns(set, i, c, in - c < INT8_PANEL ? in - c : INT8_PANEL, columns);
    }
}

void int8_set_refresh(struct int8_set *set, struct pool *pool) {
    pool_run(pool, refresh_worker, set);
}

/* ---- products ------------------------------------------------------------- */

static void block_gradient(const struct int8_matrix *m, const struct int8_room *room,
                           const float *dy, size_t rows, float *dx, bool add) {
    const struct kernels *k = kernels_get();
    size_t panels = (m->out + INT8_PANEL - 1) / INT8_PANEL;
    size_t row_bytes = linear_row_bytes((int)m->in);
    for (size_t r = 0; r < rows; r++)
        k->quantize_row(room->scratch.rows + r * row_bytes, row_bytes,
                        &room->scratch.quantizations[r], dy + r * m->in, m->in);
    int8_kernels_get()->linear(m, room->scratch.rows, row_bytes, room->scratch.quantizations, rows,
                               0, panels, add ? room->products : dx, m->out, false);
    if (add)
        k->add(dx, room->products, rows * m->out);
}

void int8_input_gradient(const struct linear *linear, int worker, const float *dy, size_t begin,
                         size_t end, float *dx, bool add) {
    const struct int8_gradient *g = linear->int8_gradient;
    for (size_t row = begin; row < end; row += BLOCK_ROWS)
        block_gradient(&g->matrix, &g->rooms[worker], dy + row * g->matrix.in,
                       end - row < BLOCK_ROWS ? end - row : BLOCK_ROWS, dx + row * g->matrix.out,
                       add);
}
