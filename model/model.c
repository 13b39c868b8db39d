#include "model/model.h"

#include "base/rng.h"
#include "model/position_table.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARED_DIMENSIONS                                                                       \
    .vocab = 4000, .positions = 256, .norm_eps = 1e-5f, .unk_id = 0, .bos_id = 1, .eos_id = 2, \
    .pad_id = 3

static const struct {
    const char *name;
    struct model_config config;
} presets[] = {
    {"small", {.d_model = 64, .heads = 1, .d_ff = 64, .layers = 1, SHARED_DIMENSIONS}},
    {"mini", {.d_model = 216, .heads = 4, .d_ff = 1024, .layers = 4, SHARED_DIMENSIONS}},
    {"alpaca", {.d_model = 512, .heads = 8, .d_ff = 2048, .layers = 8, SHARED_DIMENSIONS}},
};

const struct model_config *model_preset(const char *name) {
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        if (strcmp(presets[i].name, name) == 0)
            return &presets[i].config;
    return NULL;
}

void model_suppressed(const struct model_config *config, int32_t ids[MODEL_SUPPRESSED]) {
    ids[0] = config->unk_id;
    ids[1] = config->bos_id;
    ids[2] = config->pad_id;
}

static enum status check_range(const char *field, long value, long min, long max,
                               struct error *err) {
    if (value >= min && value <= max)
        return STATUS_OK;
    return error_set_field(err, STATUS_INVALID, field, "%s must be %ld to %ld, not %ld", field,
                           min, max, value);
}

enum status model_config_check(const struct model_config *c, struct error *err) {
    int last_id = c->vocab > 0 ? c->vocab - 1 : 0; /* a wrong vocab is refused below */
    const struct {
        const char *field;
        long value, min, max;
    } ranges[] = {
        {"d_model", c->d_model, 1, 16384},   {"num_heads", c->heads, 1, 1024},
        {"d_ff", c->d_ff, 1, 65536},         {"num_layers", c->layers, 1, MODEL_MAX_LAYERS},
        {"vocab_size", c->vocab, 1, 1 << 20}, {"max_positions", c->positions, 1, 1 << 16},
        {"unk_token_id", c->unk_id, -1, last_id},
        {"bos_token_id", c->bos_id, -1, last_id},
        {"eos_token_id", c->eos_id, -1, last_id},
        {"pad_token_id", c->pad_id, -1, last_id},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        enum status status =
            check_range(ranges[i].field, ranges[i].value, ranges[i].min, ranges[i].max, err);
        if (status != STATUS_OK)
            return status;
    }
    if (c->d_model % c->heads)
        return error_set_field(err, STATUS_INVALID, "num_heads",
                               "d_model (%d) must be a multiple of num_heads (%d)", c->d_model,
                               c->heads);
    if (!(c->norm_eps > 0 && c->norm_eps < 1))
        return error_set_field(err, STATUS_INVALID, "norm_eps",
                               "norm_eps must be above 0 and below 1, not %g",
                               (double)c->norm_eps);
    return STATUS_OK;
}

/* ---- the table, walked ---------------------------------------------------- */

#define COUNT(field, name, rows, columns, initial, decays) +1
enum {
    BEFORE = 0 MODEL_TENSORS_BEFORE(COUNT),
    PER_LAYER = 0 MODEL_TENSORS_LAYER(COUNT),
    AFTER = 0 MODEL_TENSORS_AFTER(COUNT),
};
#undef COUNT

struct row {
    const char *name;
    size_t rows, columns;
    enum tensor_initial initial;
    bool decays;
};

#define ROW(field, name, rows, columns, initial, decays)                                        \
    {name, (size_t)(rows), (size_t)(columns), initial, decays},

static size_t row_count(const struct row *row) {
    return row->rows * (row->columns ? row->columns : 1);
}

static size_t aligned(size_t floats) {
    const size_t step = ARENA_ALIGNMENT / sizeof(float);
    return (floats + step - 1) / step * step;
}

int model_tensor_count(const struct model_config *config) {
    return BEFORE + PER_LAYER * config->layers + AFTER;
}

static size_t section_floats(const struct row *rows, int count) {
    size_t floats = 0;
    for (int i = 0; i < count; i++)
        floats += aligned(row_count(&rows[i]));
    return floats;
}

void model_tensor(const struct model_config *c, int index, struct tensor_info *info) {
    const struct row before[] = {MODEL_TENSORS_BEFORE(ROW)};
    const struct row layer[] = {MODEL_TENSORS_LAYER(ROW)};
    const struct row after[] = {MODEL_TENSORS_AFTER(ROW)};
    assert(index >= 0 && index < model_tensor_count(c));
    *info = (struct tensor_info){.layer = -1};
    const struct row *section = before;
    int place = index;
    if (index >= BEFORE + PER_LAYER * c->layers) {
        section = after;
        place = index - BEFORE - PER_LAYER * c->layers;
        info->offset = section_floats(before, BEFORE) +
                       (size_t)c->layers * section_floats(layer, PER_LAYER);
    } else if (index >= BEFORE) {
        section = layer;
        place = (index - BEFORE) % PER_LAYER;
        info->layer = (index - BEFORE) / PER_LAYER;
        info->offset = section_floats(before, BEFORE) +
                       (size_t)info->layer * section_floats(layer, PER_LAYER);
    }
    const struct row *row = &section[place];
    info->offset += section_floats(section, place);
    if (info->layer < 0)
        snprintf(info->name, sizeof info->name, "%s", row->name);
    else
        snprintf(info->name, sizeof info->name, "encoder.layers.%d.%s", info->layer, row->name);
    info->rank = row->columns ? 2 : 1;
    info->rows = row->rows;
    info->columns = row->columns ? row->columns : 1;
    info->count = row_count(row);
    info->initial = row->initial;
    info->decays = row->decays;
}

bool tensor_is_finite(const struct tensor_info *info, const float *buffer) {
    bool finite = true;
    for (size_t i = 0; i < info->count; i++)
        finite &= fabsf(buffer[info->offset + i]) <= FLT_MAX;
    return finite;
}

size_t model_parameter_count(const struct model_config *config) {
    size_t total = 0;
    for (int i = 0; i < model_tensor_count(config); i++) {
        struct tensor_info info;
        model_tensor(config, i, &info);
        total += info.count;
    }
    return total;
}

size_t model_buffer_floats(const struct model_config *config) {
    struct tensor_info last;
    model_tensor(config, model_tensor_count(config) - 1, &last);
    return last.offset + aligned(last.count);
}

void parameters_bind(struct parameters *p, const struct model_config *c, float *buffer) {
    /* Takes the pieces in the table's order, exactly as model_tensor() counts them. */
#define BIND(field, name, rows, columns, initial, decays)                                       \
    owner->field = next;                                                                        \
    next += aligned((size_t)(rows) * (size_t)((columns) ? (columns) : 1));
    float *next = buffer;
    *p = (struct parameters){0};
    {
        struct parameters *owner = p;
        MODEL_TENSORS_BEFORE(BIND)
    }
    for (int i = 0; i < c->layers; i++) {
        struct layer_parameters *owner = &p->layers[i];
        MODEL_TENSORS_LAYER(BIND)
    }
    {
        struct parameters *owner = p;
        MODEL_TENSORS_AFTER(BIND)
    }
#undef BIND
    assert((size_t)(next - buffer) == model_buffer_floats(c));
}

/* ---- memory --------------------------------------------------------------- */

static void layout(void *context, struct arena *arena) {
    struct model *model = context;
    const struct model_config *c = &model->config;
    model->buffer = arena_take(arena, model_buffer_floats(c), sizeof(float));
    model->position_table =
        arena_take(arena, (size_t)c->positions * (size_t)c->d_model, sizeof(float));
}

static struct linear linear_f32(int in, int out, const float *weight, const float *bias) {
    return (struct linear){
        .dtype = DTYPE_F32, .in = in, .out = out, .weight = weight, .bias = bias};
}

void model_bind_linears(struct model *model) {
    const struct model_config *c = &model->config;
    for (int i = 0; i < c->layers; i++) {
        const struct layer_parameters *p = &model->parameters.layers[i];
        model->linears[i] = (struct layer_linears){
            .in_proj = linear_f32(c->d_model, 3 * c->d_model, p->in_proj_weight, p->in_proj_bias),
            .out_proj = linear_f32(c->d_model, c->d_model, p->out_proj_weight, p->out_proj_bias),
            .linear1 = linear_f32(c->d_model, c->d_ff, p->linear1_weight, p->linear1_bias),
            .linear2 = linear_f32(c->d_ff, c->d_model, p->linear2_weight, p->linear2_bias),
        };
    }
    model->head = linear_f32(c->d_model, c->vocab, model->parameters.head_weight,
                             model->parameters.head_bias);
}

int model_linears(struct model *model, struct linear **linears) {
    int count = 0;
    for (int i = 0; i < model->config.layers; i++) {
        struct layer_linears *l = &model->linears[i];
        struct linear *const each[] = {&l->in_proj, &l->out_proj, &l->linear1, &l->linear2};
        for (int j = 0; j < 4; j++)
            linears[count++] = each[j];
    }
    linears[count++] = &model->head;
    return count;
}

enum status model_create(struct model **out, const struct model_config *config,
                         struct error *err) {
    *out = NULL;
    enum status status = model_config_check(config, err);
    if (status != STATUS_OK)
        return status;
    struct model *model = calloc(1, sizeof *model);
    if (!model)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the model");
    model->config = *config;
    status = arena_build(&model->arena, layout, model, err);
    if (status != STATUS_OK) {
        free(model);
        return status;
    }
    parameters_bind(&model->parameters, config, model->buffer);
    model_bind_linears(model);
    position_table_fill(model->position_table, config->positions, config->d_model);
    *out = model;
    return STATUS_OK;
}

void model_destroy(struct model *model) {
    if (!model)
        return;
    arena_destroy(&model->arena);
    free(model);
}

void model_initialize(struct model *model, uint64_t seed) {
    const struct model_config *c = &model->config;
    for (int t = 0; t < model_tensor_count(c); t++) {
        struct tensor_info info;
        model_tensor(c, t, &info);
        float *values = model->buffer + info.offset;
        uint64_t key = rng_derive(seed, (uint64_t)t);
        double bound = info.initial == INITIAL_XAVIER_UNIFORM
                           ? sqrt(6.0 / (double)(info.rows + info.columns))
                           : 1.0 / sqrt((double)info.columns);
        for (size_t i = 0; i < info.count; i++) {
            switch (info.initial) {
            case INITIAL_ZERO: values[i] = 0.0f; break;
            case INITIAL_ONE: values[i] = 1.0f; break;
            case INITIAL_NORMAL:
                values[i] = (float)(rng_normal(key, i) / sqrt((double)c->d_model));
                break;
            case INITIAL_XAVIER_UNIFORM:
            case INITIAL_FAN_IN_UNIFORM:
                values[i] = (float)((2.0 * rng_uniform(key, i) - 1.0) * bound);
                break;
            }
        }
    }
}
