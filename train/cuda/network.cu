#include "train/cuda/network.h"

#include "train/cuda/row_kernels.h"

#include <math.h>
#include <stdlib.h>

/* Numbers of the network's dtype. */
static void *take(struct arena *arena, enum dtype dtype, size_t rows, int columns) {
    return arena_take(arena, rows * (size_t)columns, dtype_bytes(dtype));
}
static float *take_floats(struct arena *arena, size_t rows, int columns) {
    return (float *)take(arena, DTYPE_F32, rows, columns);
}

static void layout_layer(struct card_layer *l, const struct network *n, struct arena *arena) {
    const struct model_config *c = &n->config;
    enum dtype dtype = n->options.dtype;
    size_t rows = (size_t)n->options.max_rows;
    l->x = take(arena, dtype, rows, c->d_model);
    l->qkv = take(arena, dtype, rows, 3 * c->d_model);
    l->attention = take(arena, dtype, rows, c->d_model);
    l->middle = take(arena, dtype, rows, c->d_model);
    l->hidden = take(arena, dtype, rows, c->d_ff);
    l->logsumexp = take_floats(arena, rows, c->heads);
    l->stats1 = take_floats(arena, rows, 2);
    l->stats2 = take_floats(arena, rows, 2);
    if (n->options.keeps_layers) {
        l->residual1 = take_floats(arena, rows, c->d_model);
        l->residual2 = take_floats(arena, rows, c->d_model);
    }
}

static void layout(void *context, struct arena *arena) {
    struct network *n = (struct network *)context;
    const struct model_config *c = &n->config;
    size_t floats = model_buffer_floats(c), rows = (size_t)n->options.max_rows;
    n->parameters = take_floats(arena, floats, 1);
    if (n->options.dtype == DTYPE_BF16)
        n->rounded = (bf16 *)take(arena, DTYPE_BF16, floats, 1);
    n->position_table = take_floats(arena, (size_t)c->positions, c->d_model);
    n->carry = take_floats(arena, rows, c->d_model);
    n->branch = take(arena, n->options.dtype, rows, c->d_model);
    n->output = take(arena, n->options.dtype, rows, c->d_model);
    for (int i = 0; i < (n->options.keeps_layers ? c->layers : 1); i++)
        layout_layer(&n->layers[i], n, arena);
}

static enum status check(const struct model_config *c, struct error *err) {
    if (c->d_model % 8 || c->d_ff % 8)
        return error_set_field(err, STATUS_UNSUPPORTED, "device",
                               "--device cuda needs d_model (%d) and d_ff (%d) to be multiples of "
                               "8", c->d_model, c->d_ff);
    if (c->d_model > ROW_MAX_COLUMNS || c->d_model / c->heads > ATTENTION_MAX_HEAD)
        return error_set_field(err, STATUS_UNSUPPORTED, "device",
                               "--device cuda takes a d_model of at most %d, not %d, and heads of "
                               "at most %d columns, not %d", ROW_MAX_COLUMNS, c->d_model,
                               ATTENTION_MAX_HEAD, c->d_model / c->heads);
    return STATUS_OK;
}

/* The table of positions is made by the model, as on the CPU. */
static enum status copy_positions(struct network *n, struct error *err) {
    struct model *model;
    size_t bytes = (size_t)n->config.positions * (size_t)n->config.d_model * sizeof(float);
    TRY(model_create(&model, &n->config, err));
    enum status status =
        card_status(cudaMemcpy(n->position_table, model->position_table, bytes,
                               cudaMemcpyHostToDevice), "the table of positions", err);
    model_destroy(model);
    return status;
}

enum status network_create(struct network *n, const struct network_options *options,
                           struct error *err) {
    *n = (struct network){};
    n->options = *options;
    n->config = *options->config;
    TRY(check(&n->config, err));
    TRY(card_arena_build(&n->arena, layout, n, err));
    TRY(copy_positions(n, err));
    return network_refresh(n, err);
}

void network_destroy(struct network *n) {
    card_arena_destroy(&n->arena);
    *n = (struct network){};
}

enum status network_refresh(struct network *n, struct error *err) {
    parameters_bind(&n->at, &n->config, n->parameters);
    if (n->rounded)
        launch_to_bf16(n->rounded, n->parameters, model_buffer_floats(&n->config));
    return card_launched("rounding the weights", err);
}

/* A parameter as products read it. */
static const void *operand(const struct network *n, const float *parameter) {
    return n->rounded ? (const void *)(n->rounded + (parameter - n->parameters)) : parameter;
}

static struct card_layer *layer_of(struct network *n, int layer) {
    return &n->layers[n->options.keeps_layers ? layer : 0];
}

/* ---- forward -------------------------------------------------------------- */

struct linear_pass {
    const void *x;
    int in, out;
    const float *weight, *bias;
    void *y;
    bool relu;
};

static enum status run_linear(struct network *n, int rows, const struct linear_pass *l,
                              struct error *err) {
    enum dtype dtype = n->options.dtype;
    struct layer_forward layer = {dtype, rows, l->in, l->out, operand(n, l->weight), l->x,
                                  operand(n, l->bias), dtype, l->y, l->relu};
    part_mark(n->options.timer, DEVICE_PRODUCTS);
    return products_forward(n->options.products, &layer, err);
}

static struct card_attention attention_of(struct network *n, const struct card_batch *b,
                                          int layer) {
    struct card_layer *l = layer_of(n, layer);
    struct card_attention a = {};
    a.tiles = b->card.tiles;
    a.positions = b->card.positions, a.lengths = b->card.lengths;
    a.tile_count = b->tile_count, a.rows = b->rows;
    a.heads = n->config.heads, a.d_model = n->config.d_model;
    a.stride = b->max_rows;
    a.unmasked = b->unmasked;
    a.dropout = card_batch_dropout(b, layer, DROPOUT_ATTENTION);
    a.qkv = l->qkv, a.out = l->attention, a.logsumexp = l->logsumexp;
    return a;
}

struct norm_step {
    const float *weight, *bias;
    int layer;
    enum dropout_site site;
    float *residual, *stats;
};

static void run_norm(struct network *n, const struct card_batch *b, const struct norm_step *step,
                     void *y) {
    struct norm_pass pass = {{step->weight, step->bias, n->config.d_model, n->config.norm_eps},
                             card_batch_dropout(b, step->layer, step->site),
                             b->rows, n->branch, n->carry, y, step->residual, step->stats};
    part_mark(n->options.timer, DEVICE_ROWS);
    launch_norm(n->options.dtype, &pass);
}

static struct norm_step norm1_of(struct network *n, int layer) {
    const struct layer_parameters *p = &n->at.layers[layer];
    struct card_layer *l = layer_of(n, layer);
    return (struct norm_step){p->norm1_weight, p->norm1_bias, layer, DROPOUT_RESIDUAL1,
                              l->residual1, l->stats1};
}
static struct norm_step norm2_of(struct network *n, int layer) {
    const struct layer_parameters *p = &n->at.layers[layer];
    struct card_layer *l = layer_of(n, layer);
    return (struct norm_step){p->norm2_weight, p->norm2_bias, layer, DROPOUT_RESIDUAL2,
                              l->residual2, l->stats2};
}

static enum status forward_layer(struct network *n, const struct card_batch *b, int layer,
                                 struct error *err) {
    const struct layer_parameters *p = &n->at.layers[layer];
    struct card_layer *l = layer_of(n, layer);
    int d_model = n->config.d_model, d_ff = n->config.d_ff;
    struct linear_pass in_proj = {l->x, d_model, 3 * d_model, p->in_proj_weight, p->in_proj_bias,
                                  l->qkv, false};
    struct linear_pass out_proj = {l->attention, d_model, d_model, p->out_proj_weight,
                                   p->out_proj_bias, n->branch, false};
    struct linear_pass linear1 = {l->middle, d_model, d_ff, p->linear1_weight, p->linear1_bias,
                                  l->hidden, true};
    struct linear_pass linear2 = {l->hidden, d_ff, d_model, p->linear2_weight, p->linear2_bias,
                                  n->branch, false};
    struct norm_step norm1 = norm1_of(n, layer), norm2 = norm2_of(n, layer);
    struct row_dropout hidden = card_batch_dropout(b, layer, DROPOUT_HIDDEN);
    struct card_attention attention = attention_of(n, b, layer);
    bool last = layer + 1 == n->config.layers;

    TRY(run_linear(n, b->rows, &in_proj, err));
    part_mark(n->options.timer, DEVICE_ATTENTION);
    launch_attention(n->options.dtype, &attention);
    TRY(run_linear(n, b->rows, &out_proj, err));
    run_norm(n, b, &norm1, l->middle);
    TRY(run_linear(n, b->rows, &linear1, err));
    part_mark(n->options.timer, DEVICE_ROWS);
    if (hidden.keys)
        launch_drop(n->options.dtype, l->hidden, b->rows, d_ff, &hidden);
    TRY(run_linear(n, b->rows, &linear2, err));
    run_norm(n, b, &norm2, last ? n->output : layer_of(n, layer + 1)->x);
    return STATUS_OK;
}

enum status network_forward(struct network *n, const struct card_batch *b, struct error *err) {
    struct embed_pass embed = {n->at.embedding, n->position_table, b->card.ids, b->card.positions,
                               b->rows, n->config.d_model, sqrtf((float)n->config.d_model),
                               n->carry, n->config.layers ? layer_of(n, 0)->x : n->output};
    part_mark(n->options.timer, DEVICE_ROWS);
    launch_embed(n->options.dtype, &embed);
    for (int layer = 0; layer < n->config.layers; layer++)
        TRY(forward_layer(n, b, layer, err));
    return card_launched("forward", err);
}

static const char *output_row(const struct network *n, int row) {
    return (const char *)n->output +
           (size_t)row * (size_t)n->config.d_model * dtype_bytes(n->options.dtype);
}

enum status network_logits(struct network *n, int first, int count, float *logits,
                           struct error *err) {
    struct layer_forward head = {n->options.dtype, count, n->config.d_model, n->config.vocab,
                                 operand(n, n->at.head_weight), output_row(n, first),
                                 n->at.head_bias, DTYPE_F32, logits, false};
    return products_forward(n->options.products, &head, err);
}

/* ---- backward ------------------------------------------------------------- */

static size_t larger(size_t x, size_t y) {
    return x > y ? x : y;
}

void network_gradient_layout(struct network_gradient *g, const struct network_options *o,
                             struct arena *arena) {
    const struct model_config *c = o->config;
    size_t rows = (size_t)o->max_rows, d_model = (size_t)c->d_model;
    size_t columns = larger(larger(3 * d_model, (size_t)c->d_ff), (size_t)c->vocab);
    g->gradients = take_floats(arena, model_buffer_floats(c), 1);
    g->dx = take_floats(arena, rows, c->d_model);
    g->d_branch = take(arena, o->dtype, rows, c->d_model);
    g->d_attention = take(arena, o->dtype, rows, c->d_model);
    g->d_qkv = take(arena, o->dtype, rows, 3 * c->d_model);
    g->d_hidden = take(arena, o->dtype, rows, c->d_ff);
    g->delta = take_floats(arena, rows, c->heads);
    g->parts = take_floats(arena, larger(NORM_PARTS * 3 * d_model, COLUMN_PARTS * columns), 1);
}

struct linear_gradient_pass {
    const void *x, *dy;
    int in, out;
    const float *weight;
    float *weight_grad;
    void *dx; /* of the dtype; NULL: it is added to g->dx */
};

static enum status linear_gradient(struct network *n, int rows, struct network_gradient *g,
                                   const struct linear_gradient_pass *l, struct error *err) {
    enum dtype dtype = n->options.dtype;
    struct layer_backward layer = {dtype, rows, l->in, l->out, operand(n, l->weight), l->x, l->dy,
                                   l->weight_grad, l->dx ? dtype : DTYPE_F32,
                                   l->dx ? l->dx : g->dx, l->dx == NULL};
    part_mark(n->options.timer, DEVICE_PRODUCTS);
    return products_backward(n->options.products, &layer, err);
}

struct norm_grads {
    float *weight, *bias, *branch_bias;
};

static void norm_gradient(struct network *n, const struct card_batch *b, struct network_gradient *g,
                          const struct norm_step *step, const struct norm_grads *grads) {
    struct norm_gradient pass = {
        {step->weight, step->bias, n->config.d_model, n->config.norm_eps},
        card_batch_dropout(b, step->layer, step->site), b->rows, g->dx, step->residual,
        step->stats, g->d_branch, g->parts, grads->weight, grads->bias, grads->branch_bias};
    part_mark(n->options.timer, DEVICE_ROWS);
    launch_norm_gradient(n->options.dtype, &pass);
}

static void add_columns(struct network *n, struct network_gradient *g,
                        const struct column_sums *sums) {
    struct column_sums pass = *sums;
    pass.parts = g->parts;
    part_mark(n->options.timer, DEVICE_ROWS);
    launch_column_sums(n->options.dtype, &pass);
}

static enum status backward_layer(struct network *n, const struct card_batch *b, int layer,
                                  struct network_gradient *g, struct error *err) {
    const struct layer_parameters *p = &n->at.layers[layer], *grad = &g->at.layers[layer];
    struct card_layer *l = layer_of(n, layer);
    int d_model = n->config.d_model, d_ff = n->config.d_ff, rows = b->rows;
    struct norm_step norm1 = norm1_of(n, layer), norm2 = norm2_of(n, layer);
    struct norm_grads grads1 = {grad->norm1_weight, grad->norm1_bias, grad->out_proj_bias};
    struct norm_grads grads2 = {grad->norm2_weight, grad->norm2_bias, grad->linear2_bias};
    struct linear_gradient_pass linear2 = {l->hidden, g->d_branch, d_ff, d_model,
                                           p->linear2_weight, grad->linear2_weight, g->d_hidden};
    struct linear_gradient_pass linear1 = {l->middle, g->d_hidden, d_model, d_ff,
                                           p->linear1_weight, grad->linear1_weight, NULL};
    struct linear_gradient_pass out_proj = {l->attention, g->d_branch, d_model, d_model,
                                            p->out_proj_weight, grad->out_proj_weight,
                                            g->d_attention};
    struct linear_gradient_pass in_proj = {l->x, g->d_qkv, d_model, 3 * d_model,
                                           p->in_proj_weight, grad->in_proj_weight, NULL};
    struct column_sums hidden = {g->d_hidden, l->hidden, dropout_scale(b->dropout),
                                 rows, d_ff, NULL, grad->linear1_bias};
    struct column_sums qkv = {g->d_qkv, NULL, 1, rows, 3 * d_model, NULL, grad->in_proj_bias};
    struct card_attention attention = attention_of(n, b, layer);
    attention.d_out = g->d_attention, attention.delta = g->delta, attention.d_qkv = g->d_qkv;

    norm_gradient(n, b, g, &norm2, &grads2);
    TRY(linear_gradient(n, rows, g, &linear2, err));
    add_columns(n, g, &hidden);
    TRY(linear_gradient(n, rows, g, &linear1, err));
    norm_gradient(n, b, g, &norm1, &grads1);
    TRY(linear_gradient(n, rows, g, &out_proj, err));
    part_mark(n->options.timer, DEVICE_ATTENTION);
    launch_attention_gradient(n->options.dtype, &attention);
    add_columns(n, g, &qkv);
    return linear_gradient(n, rows, g, &in_proj, err);
}

enum status network_head_backward(struct network *n, struct network_gradient *g, int first,
                                  int count, void *d_logits, struct error *err) {
    struct layer_backward head = {n->options.dtype, count, n->config.d_model, n->config.vocab,
                                  operand(n, n->at.head_weight), output_row(n, first), d_logits,
                                  g->at.head_weight, DTYPE_F32,
                                  g->dx + (size_t)first * (size_t)n->config.d_model, false};
    struct column_sums bias = {d_logits, NULL, 1, count, n->config.vocab, g->parts,
                               g->at.head_bias};
    launch_column_sums(n->options.dtype, &bias);
    return products_backward(n->options.products, &head, err);
}

enum status network_backward(struct network *n, const struct card_batch *b,
                             struct network_gradient *g, struct error *err) {
    for (int layer = n->config.layers - 1; layer >= 0; layer--)
        TRY(backward_layer(n, b, layer, g, err));
    struct embed_gradient embed = {b->card.order, b->card.starts, g->dx, g->at.embedding,
                                   n->config.vocab, n->config.d_model,
                                   sqrtf((float)n->config.d_model)};
    part_mark(n->options.timer, DEVICE_ROWS);
    launch_embed_gradient(&embed);
    return card_launched("backward", err);
}
