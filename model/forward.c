#include "model/forward.h"

#include "base/clock.h"
#include "base/pool.h"
#include "model/attention.h"
#include "model/attention_int8.h"
#include "model/kernels/dropout.h"
#include "model/kernels/kernels.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { FETCHING_ROWS = 8 };

/* Adds the time of the caller's thread since *since_ns to a part, where time is measured. */
static void charge(const struct activations *a, int worker, enum forward_part part,
                   uint64_t *since_ns) {
    if (worker > 0 || !a->part_ns)
        return;
    uint64_t now_ns = clock_now_ns();
    a->part_ns[part] += now_ns - *since_ns;
    *since_ns = now_ns;
}

static uint64_t start_ns(const struct activations *a, int worker) {
    return worker == 0 && a->part_ns ? clock_now_ns() : 0;
}

/* A forward pass as the threads walk through it: each of them has this, and everything that it
 * points at but for results is there before and stays the same. */
struct forward_walk {
    const struct forward_context *f;
    const struct batch *batch;
};

/* ---- embedding ------------------------------------------------------------ */

static void embed(const void *context, size_t row, float *x) {
    const struct forward_walk *w = context;
    const struct model *model = w->f->model;
    const struct span *span = w->batch->spans;
    size_t d_model = (size_t)model->config.d_model, first = 0;
    float scale = sqrtf((float)d_model);
    for (; row - first >= (size_t)span->rows; span++)
        first += (size_t)span->rows;
    size_t position = (size_t)(w->batch->cache ? span->first : 0) + row - first;
    const float *e = model->parameters.embedding + (size_t)w->batch->ids[row] * d_model;
    const float *p = model->position_table + position * d_model;
    for (size_t i = 0; i < d_model; i++)
        x[i] = e[i] * scale + p[i];
}

/* ---- residual and norm ---------------------------------------------------- */

struct norm_source {
    const struct forward_walk *walk;
    int layer;
    enum dropout_site site;
    const float *x;  /* [rows, d_model] what the sublayer got */
    float *residual; /* in: what the sublayer gave; out, where layers are kept: x + dropout(that) */
    const struct norm_stats *stats;
    const float *weight, *bias;
};

/* y[d_model] = norm(x + dropout(what the sublayer gave)) of a row. Unless layers are kept, several
 * workers may do that for the same row, each to its own y. */
static void add_and_norm(const void *context, size_t row, float *y) {
    const struct norm_source *n = context;
    const struct forward_walk *w = n->walk;
    const struct kernels *k = kernels_get();
    const struct dropout *dropout = &w->batch->dropout;
    bool keeps = w->f->activations->keeps_layers;
    float rate = dropout->rates.units, mean, rstd;
    size_t d_model = (size_t)w->f->model->config.d_model;
    float *residual = n->residual + row * d_model;
    if (!keeps)
        residual = memcpy(y, residual, d_model * sizeof *y);
    if (rate > 0)
        k->dropout(residual, d_model, dropout_row_key(dropout, n->layer, n->site, (int)row),
                   dropout_threshold(rate), dropout_scale(rate));
    k->add(residual, n->x + row * d_model, d_model);
    k->layer_norm(y, keeps ? &n->stats->mean[row] : &mean, keeps ? &n->stats->rstd[row] : &rstd,
                  residual, n->weight, n->bias, d_model, w->f->model->config.norm_eps);
}

/* ---- the hidden layer's dropout ------------------------------------------- */

struct hidden_task {
    const struct batch *batch;
    int layer;
    size_t d_ff;
    float *hidden; /* [rows, d_ff] */
};

static void drop_hidden(void *context, int worker, int workers) {
    const struct hidden_task *t = context;
    const struct kernels *k = kernels_get();
    const struct dropout *dropout = &t->batch->dropout;
    float rate = dropout->rates.units;
    size_t begin, end;
    pool_slice((size_t)t->batch->rows, 1, worker, workers, &begin, &end);
    for (size_t row = begin; row < end; row++)
        k->dropout(t->hidden + row * t->d_ff, t->d_ff,
                   dropout_row_key(dropout, t->layer, DROPOUT_HIDDEN, (int)row),
                   dropout_threshold(rate), dropout_scale(rate));
}

/* ---- the encoder ---------------------------------------------------------- */

static void run_linear(const struct forward_context *f, int worker,
                       const struct linear_product *product) {
    const struct activations *a = f->activations;
    uint64_t since_ns = start_ns(a, worker);
    linear_prepare(f->pool, worker, &a->linear, product);
    charge(a, worker, PART_NORMS, &since_ns);
    linear_multiply(f->pool, worker, &a->linear, product);
    charge(a, worker, PART_LINEARS, &since_ns);
}

/* Between two attentions the linear layers fetch what the later one reads, by their work; the
 * last layer's fetch for the next step's first, which has mostly the same sequences. */
struct wanted {
    const struct forward_walk *walk;
    int layer;            /* whose attention it is */
    size_t begin, end, of; /* this product's part of the work between the two */
};

/* The share of who does [begin, end) of `total` equal pieces of the product. */
static struct fetch_list list_wanted(const void *context, int worker, size_t begin, size_t end,
                                     size_t total) {
    const struct wanted *w = context;
    const struct batch *batch = w->walk->batch;
    const struct activations *a = w->walk->f->activations;
    size_t items = (size_t)batch->span_count * (size_t)batch->cache->heads;
    size_t first = items * w->begin / w->of, count = items * w->end / w->of - first;
    return attention_int8_reads(batch, w->layer, first + count * begin / total,
                                first + count * end / total,
                                a->fetch_runs + (size_t)worker * a->fetch_runs_each);
}

/* Nothing for a few rows: there the linear layers wait for memory themselves, and the caches keep so
 * few keys and values anyway. */
static struct linear_wanted wanted(const struct wanted *w) {
    const struct batch *batch = w->walk->batch;
    if (!batch->cache || batch->cache->dtype != DTYPE_INT8 || batch->rows < FETCHING_ROWS)
        return (struct linear_wanted){0};
    return (struct linear_wanted){list_wanted, w};
}

/* What makes the input of a layer, or the output behind the last. */
static struct norm_source input_norm(const struct forward_walk *w, int layer) {
    const struct layer_parameters *p = &w->f->model->parameters.layers[layer - 1];
    const struct layer_activations *a = activations_layer(w->f->activations, layer - 1);
    return (struct norm_source){w, layer - 1, DROPOUT_RESIDUAL2, a->middle, a->residual2,
                                &a->norm2, p->norm2_weight, p->norm2_bias};
}

static void attend(const struct forward_walk *w, int worker, int layer) {
    const struct forward_context *f = w->f;
    const struct layer_activations *a = activations_layer(f->activations, layer);
    const struct layer_linears *linears = &f->model->linears[layer];
    const struct attention_pass attention = attention_pass(f->model, f->activations, w->batch, layer);
    const size_t d_model = (size_t)f->model->config.d_model, d_ff = (size_t)f->model->config.d_ff;
    const size_t before = d_model + 2 * d_ff, work = before + 3 * d_model;
    struct wanted now = {w, layer, before, work, work};
    struct wanted next = {w, (layer + 1) % f->model->config.layers, 0, d_model, work};
    struct norm_source norm;
    struct linear_product in_proj = {&linears->in_proj, activations_input(f->activations, layer),
                                     (size_t)w->batch->rows, a->qkv, .wanted = wanted(&now)};
    if (layer > 0) {
        norm = input_norm(w, layer);
        in_proj.source = (struct linear_source){add_and_norm, &norm};
    } else {
        in_proj.source = (struct linear_source){embed, w};
    }
    run_linear(f, worker, &in_proj);
    uint64_t since_ns = start_ns(f->activations, worker);
    attention_stage(f->pool, worker, &attention);
    charge(f->activations, worker, PART_ATTENTION, &since_ns);
    struct linear_product out_proj = {&linears->out_proj, a->attention, (size_t)w->batch->rows,
                                      a->residual1, .quantized = attention.quantized != NULL,
                                      .wanted = wanted(&next)};
    run_linear(f, worker, &out_proj);
}

static void feed_forward(const struct forward_walk *w, int worker, int layer) {
    const struct forward_context *f = w->f;
    const struct layer_parameters *p = &f->model->parameters.layers[layer];
    const struct layer_activations *a = activations_layer(f->activations, layer);
    const struct layer_linears *linears = &f->model->linears[layer];
    const size_t d_model = (size_t)f->model->config.d_model, d_ff = (size_t)f->model->config.d_ff;
    const size_t middle = d_model + d_ff, end = middle + d_ff, work = end + 3 * d_model;
    const int next = (layer + 1) % f->model->config.layers;
    struct wanted wanted1 = {w, next, d_model, middle, work}, wanted2 = {w, next, middle, end, work};
    struct norm_source norm = {w, layer, DROPOUT_RESIDUAL1, activations_input(f->activations, layer),
                               a->residual1, &a->norm1, p->norm1_weight, p->norm1_bias};
    struct linear_product linear1 = {&linears->linear1, a->middle, (size_t)w->batch->rows, a->hidden,
                                     .relu = true, .source = {add_and_norm, &norm},
                                     .wanted = wanted(&wanted1)};
    struct linear_product linear2 = {&linears->linear2, a->hidden, (size_t)w->batch->rows,
                                     a->residual2, .wanted = wanted(&wanted2)};
    run_linear(f, worker, &linear1);
    if (w->batch->dropout.rates.units > 0) {
        struct hidden_task hidden = {w->batch, layer, (size_t)f->model->config.d_ff, a->hidden};
        pool_stage(f->pool, worker, drop_hidden, &hidden);
    }
    run_linear(f, worker, &linear2);
}

static void walk_layers(void *context, int worker) {
    const struct forward_walk *w = context;
    const struct activations *a = w->f->activations;
    const struct model_config *c = &w->f->model->config;
    for (int layer = 0; layer < c->layers; layer++) {
        attend(w, worker, layer);
        feed_forward(w, worker, layer);
    }
    struct norm_source norm = input_norm(w, c->layers);
    float *output = activations_output(a);
    size_t rows = (size_t)w->batch->rows, begin, end;
    uint64_t since_ns = start_ns(a, worker);
    while (pool_take(w->f->pool, worker, rows, 1, &begin, &end))
        add_and_norm(&norm, begin, output + begin * (size_t)c->d_model);
    charge(a, worker, PART_NORMS, &since_ns);
}

void forward(const struct forward_context *f, const struct batch *batch) {
    assert(batch->rows > 0 && batch->rows <= f->activations->max_rows);
    struct forward_walk walk = {f, batch};
    pool_walk(f->pool, walk_layers, &walk);
}

/* ---- logits --------------------------------------------------------------- */

struct logits_walk {
    const struct forward_context *f;
    struct linear_product head;
    const int *rows; /* of the output */
};

static void gather(const void *context, size_t row, float *x) {
    const struct logits_walk *w = context;
    size_t d_model = (size_t)w->f->model->config.d_model;
    memcpy(x, activations_output(w->f->activations) + (size_t)w->rows[row] * d_model,
           d_model * sizeof *x);
}

static void walk_logits(void *context, int worker) {
    const struct logits_walk *w = context;
    run_linear(w->f, worker, &w->head);
}

void forward_logits_range(const struct forward_context *f, int first, int count, float *logits) {
    float *x = activations_output(f->activations) + (size_t)first * (size_t)f->model->config.d_model;
    struct logits_walk walk = {f, {&f->model->head, x, (size_t)count, .y = logits}, NULL};
    pool_walk(f->pool, walk_logits, &walk);
}

void forward_logits(const struct forward_context *f, const int *rows, int count, float *logits) {
    struct logits_walk walk = {f, {&f->model->head, f->activations->gathered, (size_t)count,
                                   .y = logits}, rows};
    walk.head.source = (struct linear_source){gather, &walk};
    pool_walk(f->pool, walk_logits, &walk);
}
