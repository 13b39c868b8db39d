#include "train/grow.h"

#include "base/arena.h"
#include "base/pool.h"
#include "model/forward.h"

#include <math.h>
#include <string.h>

/* Where a source stands in the larger model. */
struct place {
    const struct model *source;
    int *dims;  /* [source's d_model] which dimension each of its own is */
    int head;   /* its first head */
    int hidden; /* its first hidden unit */
};

struct growth {
    struct model *model;
    int count;
    struct place places[GROW_MAX_SOURCES];
    bool *taken; /* [d_model] */
    struct arena arena;
};

static int source_layers(const struct growth *g) {
    return g->places[0].source->config.layers;
}

/* The sources' layer that a layer of the model carries, or -1: it is one more. Spread evenly. */
static int carried_layer(const struct growth *g, int layer) {
    int from = source_layers(g), to = g->model->config.layers;
    return layer * from % to < from ? layer * from / to : -1;
}

/* ---- who stands where ----------------------------------------------------- */

static enum status check(const struct model_config *c, const struct model *const *sources,
                         int count, struct error *err) {
    int d_model = 0, heads = 0, d_ff = 0;
    for (int i = 0; i < count; i++) {
        const struct model_config *s = &sources[i]->config;
        if (s->vocab != c->vocab || s->positions != c->positions || s->norm_eps != c->norm_eps ||
            s->layers != sources[0]->config.layers || s->layers > c->layers ||
            s->d_model / s->heads > c->d_model / c->heads || s->d_model % 2 != 0)
            return error_set(err, STATUS_INVALID,
                             "model %d does not fit: vocabulary, positions and eps have to be "
                             "those of the larger model, layers as many as the other models have, "
                             "and heads no wider than its own",
                             i + 1);
        d_model += s->d_model;
        heads += s->heads;
        d_ff += s->d_ff;
    }
    if (d_model > c->d_model || heads > c->heads || d_ff > c->d_ff)
        return error_set(err, STATUS_INVALID,
                         "the models are too large together: d_model %d of %d, heads %d of %d, "
                         "d_ff %d of %d",
                         d_model, c->d_model, heads, c->heads, d_ff, c->d_ff);
    return STATUS_OK;
}

/* The free pair of dimensions, sine and cosine, whose wavelength is closest to a source's pair. */
static int closest_pair(const struct growth *g, int pair, int d_source) {
    int pairs = g->model->config.d_model / 2, best = -1;
    double wanted = (double)pair * g->model->config.d_model / d_source, least = INFINITY;
    for (int p = 0; p < pairs; p++)
        if (!g->taken[2 * p] && fabs(p - wanted) < least) {
            least = fabs(p - wanted);
            best = p;
        }
    return best;
}

static void layout(void *context, struct arena *arena) {
    struct growth *g = context;
    g->taken = arena_take(arena, (size_t)g->model->config.d_model, sizeof *g->taken);
    for (int i = 0; i < g->count; i++)
        g->places[i].dims =
            arena_take(arena, (size_t)g->places[i].source->config.d_model, sizeof(int));
}

static enum status open_growth(struct growth *g, struct model *model,
                               const struct model *const *sources, int count, struct error *err) {
    *g = (struct growth){.model = model, .count = count};
    for (int i = 0, head = 0, hidden = 0; i < count; i++) {
        g->places[i] = (struct place){.source = sources[i], .head = head, .hidden = hidden};
        head += sources[i]->config.heads;
        hidden += sources[i]->config.d_ff;
    }
    enum status status = arena_build(&g->arena, layout, g, err);
    if (status != STATUS_OK)
        return status;
    for (int pair = 0; pair < model->config.d_model / 2; pair++) /* the short waves first */
        for (int i = 0; i < count; i++) {
            struct place *p = &g->places[i];
            if (2 * pair >= p->source->config.d_model)
                continue;
            int to = closest_pair(g, pair, p->source->config.d_model);
            for (int j = 0; j < 2; j++) {
                p->dims[2 * pair + j] = 2 * to + j;
                g->taken[2 * to + j] = true;
            }
        }
    return STATUS_OK;
}

/* ---- weights -------------------------------------------------------------- */

/* to[map of column] = scale * from[column], all other columns 0. */
static void spread(const struct place *p, float *to, size_t width, const float *from,
                   float scale) {
    memset(to, 0, width * sizeof *to);
    for (int i = 0; i < p->source->config.d_model; i++)
        to[p->dims[i]] = scale * from[i];
}

static void place_ends(const struct growth *g, const struct place *p) {
    const struct model_config *c = &g->model->config, *s = &p->source->config;
    const struct parameters *to = &g->model->parameters, *from = &p->source->parameters;
    float scale = sqrtf((float)s->d_model / (float)c->d_model); /* the embedding is multiplied by */
    for (size_t id = 0; id < (size_t)c->vocab; id++) {
        size_t row = id * (size_t)c->d_model, source_row = id * (size_t)s->d_model;
        for (int i = 0; i < s->d_model; i++) {
            to->embedding[row + (size_t)p->dims[i]] = scale * from->embedding[source_row + i];
            to->head_weight[row + (size_t)p->dims[i]] =
                from->head_weight[source_row + i] / (float)g->count;
        }
        to->head_bias[id] += from->head_bias[id] / (float)g->count;
    }
}

/* Heads may become wider: the new lanes of q are 0, so that scores stay, and those of v are not
 * read. Scores are divided by the square root of the width, which q makes up for. */
static void place_attention(const struct growth *g, const struct place *p,
                            const struct layer_parameters *to,
                            const struct layer_parameters *from) {
    size_t d = (size_t)g->model->config.d_model, d_source = (size_t)p->source->config.d_model;
    size_t lanes = d / (size_t)g->model->config.heads;
    size_t source_lanes = d_source / (size_t)p->source->config.heads;
    for (size_t row = 0; row < d_source; row++) {
        size_t lane = ((size_t)p->head + row / source_lanes) * lanes + row % source_lanes;
        for (size_t part = 0; part < 3; part++) {
            float scale = part == 0 ? sqrtf((float)lanes / (float)source_lanes) : 1.0f;
            size_t r = part * d + lane, s = part * d_source + row;
            spread(p, to->in_proj_weight + r * d, d, from->in_proj_weight + s * d_source, scale);
            to->in_proj_bias[r] = scale * from->in_proj_bias[s];
        }
        for (size_t i = 0; i < d_source; i++)
            to->out_proj_weight[(size_t)p->dims[i] * d + lane] =
                from->out_proj_weight[i * d_source + row];
        to->out_proj_bias[p->dims[row]] = from->out_proj_bias[row];
    }
    for (size_t head = 0; head < (size_t)p->source->config.heads; head++)
        memset(to->in_proj_weight + (((size_t)p->head + head) * lanes + source_lanes) * d, 0,
               (lanes - source_lanes) * d * sizeof(float));
}

static void place_hidden(const struct growth *g, const struct place *p,
                         const struct layer_parameters *to, const struct layer_parameters *from) {
    size_t d = (size_t)g->model->config.d_model, d_source = (size_t)p->source->config.d_model;
    size_t d_ff = (size_t)g->model->config.d_ff, source_ff = (size_t)p->source->config.d_ff;
    for (size_t unit = 0; unit < source_ff; unit++) {
        size_t u = (size_t)p->hidden + unit;
        spread(p, to->linear1_weight + u * d, d, from->linear1_weight + unit * d_source, 1.0f);
        to->linear1_bias[u] = from->linear1_bias[unit];
        for (size_t i = 0; i < d_source; i++)
            to->linear2_weight[(size_t)p->dims[i] * d_ff + u] =
                from->linear2_weight[i * source_ff + unit];
    }
    for (size_t i = 0; i < d_source; i++)
        to->linear2_bias[p->dims[i]] = from->linear2_bias[i];
}

/* A layer adds nothing until these are filled. */
static void silence(const struct model_config *c, const struct layer_parameters *to) {
    size_t d = (size_t)c->d_model;
    memset(to->out_proj_weight, 0, d * d * sizeof(float));
    memset(to->linear2_weight, 0, d * (size_t)c->d_ff * sizeof(float));
}

/* What `layer` reads, from the layer before it. */
static void copy_readers(const struct model_config *c, const struct layer_parameters *to,
                         const struct layer_parameters *from) {
    size_t d = (size_t)c->d_model, d_ff = (size_t)c->d_ff;
    memcpy(to->in_proj_weight, from->in_proj_weight, 3 * d * d * sizeof(float));
    memcpy(to->in_proj_bias, from->in_proj_bias, 3 * d * sizeof(float));
    memcpy(to->linear1_weight, from->linear1_weight, d_ff * d * sizeof(float));
    memcpy(to->linear1_bias, from->linear1_bias, d_ff * sizeof(float));
}

enum status grow(struct model *model, const struct model *const *sources, int count,
                 uint64_t seed, struct error *err) {
    const struct model_config *c = &model->config;
    struct growth g = {0};
    enum status status = check(c, sources, count, err);
    if (status == STATUS_OK)
        status = open_growth(&g, model, sources, count, err);
    if (status != STATUS_OK)
        return status;
    model_initialize(model, seed);
    memset(model->parameters.head_weight, 0,
           (size_t)c->vocab * (size_t)c->d_model * sizeof(float));
    for (int i = 0; i < count; i++)
        place_ends(&g, &g.places[i]);
    for (int layer = 0; layer < c->layers; layer++) {
        const struct layer_parameters *to = &model->parameters.layers[layer];
        int carried = carried_layer(&g, layer);
        silence(c, to);
        for (int i = 0; i < count && carried >= 0; i++) {
            const struct place *p = &g.places[i];
            const struct layer_parameters *from = &p->source->parameters.layers[carried];
            place_attention(&g, p, to, from);
            place_hidden(&g, p, to, from);
        }
        if (carried < 0)
            copy_readers(c, to, to - 1); /* the first layer is always carried */
    }
    arena_destroy(&g.arena);
    return STATUS_OK;
}

/* ---- norms ---------------------------------------------------------------- */

/* What a norm gave in a source, to be given again: (value - mean) * rstd * weight + bias. */
struct wanted_norm {
    const struct norm_stats *stats; /* NULL: the value as it is */
    const float *weight, *bias;
};

/* The model's norm takes off another mean and divides by another deviation; these make up for
 * them on the mean over the rows. */
struct correction {
    double factor, shift;
};

static struct correction compare(const struct norm_stats *have, const struct wanted_norm *want,
                                 int rows) {
    struct correction c = {0, 0};
    for (int r = 0; r < rows; r++) {
        double rstd = want->stats ? (double)want->stats->rstd[r] : 1;
        double mean = want->stats ? (double)want->stats->mean[r] : 0;
        c.factor += rstd / (double)have->rstd[r] / rows;
        c.shift += ((double)have->mean[r] - mean) * rstd / rows;
    }
    return c;
}

/* The weight and the bias that dimension `from` of the source's norm becomes. */
static void correct(const struct wanted_norm *want, struct correction c, int from, float *weight,
                    float *bias) {
    double w = want->weight ? (double)want->weight[from] : 1;
    double b = want->bias ? (double)want->bias[from] : 0;
    *weight = (float)(w * c.factor);
    *bias = (float)(b + w * c.shift);
}

static const struct norm_stats *stats_of(const struct layer_activations *a, int norm) {
    return norm == 0 ? &a->norm1 : &a->norm2;
}

static void calibrate_norm(const struct growth *g, const struct activations *model,
                           const struct activations *sources, int layer, int norm, int rows) {
    const struct layer_parameters *to = &g->model->parameters.layers[layer];
    const struct norm_stats *have = stats_of(activations_layer(model, layer), norm);
    float *weight = norm == 0 ? to->norm1_weight : to->norm2_weight;
    float *bias = norm == 0 ? to->norm1_bias : to->norm2_bias;
    int carried = carried_layer(g, layer);
    struct wanted_norm as_it_is = {0};
    struct correction correction = compare(have, &as_it_is, rows);
    for (int i = 0; i < g->model->config.d_model; i++)
        correct(&as_it_is, correction, i, weight + i, bias + i);
    for (int i = 0; i < g->count && carried >= 0; i++) {
        const struct place *p = &g->places[i];
        const struct layer_parameters *from = &p->source->parameters.layers[carried];
        struct wanted_norm want = {stats_of(activations_layer(&sources[i], carried), norm),
                                   norm == 0 ? from->norm1_weight : from->norm2_weight,
                                   norm == 0 ? from->norm1_bias : from->norm2_bias};
        correction = compare(have, &want, rows);
        for (int j = 0; j < p->source->config.d_model; j++)
            correct(&want, correction, j, weight + p->dims[j], bias + p->dims[j]);
    }
}

enum status grow_calibrate(struct model *model, const struct model *const *sources, int count,
                           const struct batch *batch, struct pool *pool, struct error *err) {
    const struct model_config *c = &model->config;
    struct growth g = {0};
    struct activations own = {0}, theirs[GROW_MAX_SOURCES] = {0};
    int workers = pool_workers(pool);
    enum status status = open_growth(&g, model, sources, count, err);
    if (status == STATUS_OK)
        status = activations_create(&own, c, batch->rows, true, workers, err);
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        status = activations_create(&theirs[i], &sources[i]->config, batch->rows, true, workers,
                                    err);
        if (status == STATUS_OK)
            forward(&(struct forward_context){sources[i], pool, &theirs[i]}, batch);
    }
    /* In the order of the pass: a norm's rows depend on the norms before it. */
    for (int norm = 0; norm < 2 * c->layers && status == STATUS_OK; norm++) {
        forward(&(struct forward_context){model, pool, &own}, batch);
        calibrate_norm(&g, &own, theirs, norm / 2, norm % 2, batch->rows);
    }
    for (int i = 0; i < count; i++)
        activations_destroy(&theirs[i]);
    activations_destroy(&own);
    arena_destroy(&g.arena);
    return status;
}
