#include "model/activations.h"

#include "model/attention_int8.h"

static void layout_layer(struct layer_activations *a, const struct model_config *c, size_t rows,
                         struct arena *arena) {
    size_t d_model = (size_t)c->d_model;
    a->qkv = arena_take(arena, rows * 3 * d_model, sizeof(float));
    a->attention = arena_take(arena, rows * d_model, sizeof(float));
    a->logsumexp = arena_take(arena, rows * (size_t)c->heads, sizeof(float));
    a->residual1 = arena_take(arena, rows * d_model, sizeof(float));
    a->norm1.mean = arena_take(arena, rows, sizeof(float));
    a->norm1.rstd = arena_take(arena, rows, sizeof(float));
    a->middle = arena_take(arena, rows * d_model, sizeof(float));
    a->hidden = arena_take(arena, rows * (size_t)c->d_ff, sizeof(float));
    a->residual2 = arena_take(arena, rows * d_model, sizeof(float));
    a->norm2.mean = arena_take(arena, rows, sizeof(float));
    a->norm2.rstd = arena_take(arena, rows, sizeof(float));
}

static void layout(void *context, struct arena *arena) {
    struct activations *a = context;
    const struct model_config *c = &a->config;
    size_t rows = (size_t)a->max_rows, d_model = (size_t)c->d_model;
    int layers = a->keeps_layers ? c->layers : 1;
    a->x = arena_take(arena, (size_t)(layers + 1) * rows * d_model, sizeof(float));
    for (int i = 0; i < layers; i++)
        layout_layer(&a->layers[i], c, rows, arena);
    a->scores = arena_take(arena, (size_t)a->workers * a->scores_floats, sizeof(float));
    a->fetch_runs =
        arena_take(arena, (size_t)a->workers * a->fetch_runs_each, sizeof *a->fetch_runs);
    a->heads_done = arena_take(arena, rows, sizeof *a->heads_done);
    a->gathered = arena_take(arena, rows * d_model, sizeof(float));
    a->own_x = arena_take(arena, (size_t)a->workers * 2 * LINEAR_FEW_ROWS * d_model,
                          sizeof(float));
    linear_scratch_layout(&a->linear, c->d_ff > c->d_model ? c->d_ff : c->d_model,
                          a->keeps_layers ? 0 : a->workers, arena);
}

enum status activations_create(struct activations *a, const struct model_config *config,
                               int max_rows, bool keeps_layers, int workers, struct error *err) {
    *a = (struct activations){.config = *config,
                              .max_rows = max_rows,
                              .keeps_layers = keeps_layers,
                              .workers = workers,
                              .scores_floats = attention_scratch_floats(config),
                              .fetch_runs_each = 2 * (size_t)config->heads * (size_t)max_rows};
    if (keeps_layers)
        a->fetch_runs_each = 0;
    return arena_build(&a->arena, layout, a, err);
}

void activations_destroy(struct activations *a) {
    arena_destroy(&a->arena);
    *a = (struct activations){0};
}

const struct layer_activations *activations_layer(const struct activations *a, int layer) {
    return &a->layers[a->keeps_layers ? layer : 0];
}

float *activations_input(const struct activations *a, int layer) {
    /* Without kept layers two buffers take turns: a layer never writes over its input. */
    size_t place = (size_t)(a->keeps_layers ? layer : layer % 2);
    return a->x + place * (size_t)a->max_rows * (size_t)a->config.d_model;
}

float *activations_output(const struct activations *a) {
    return activations_input(a, a->config.layers);
}
