/* A model for serving: integer matrices, and in fp32 only what is read as such. */
#include "model/model.h"
#include "model/pack_weights.h"

#include <assert.h>
#include <string.h>

/* What an INT8 model consists of, in one arena. */
struct served {
    struct model *model;
    struct linear *linears[MODEL_MAX_LINEARS];
    int count;
    struct packed_matrix *matrices; /* [count] */
    float *embedding, *position_table;
    float *norms; /* [layers, 4, d_model] weight and bias of norm1, then of norm2 */
};

static void layout(void *context, struct arena *arena) {
    struct served *s = context;
    const struct model_config *c = &s->model->config;
    size_t d_model = (size_t)c->d_model;
    s->matrices = arena_take(arena, (size_t)s->count, sizeof *s->matrices);
    s->embedding = arena_take(arena, (size_t)c->vocab * d_model, sizeof(float));
    s->position_table = arena_take(arena, (size_t)c->positions * d_model, sizeof(float));
    s->norms = arena_take(arena, (size_t)c->layers * 4 * d_model, sizeof(float));
    for (int i = 0; i < s->count; i++) {
        struct int8_matrix measured;
        int8_matrix_layout(s->matrices ? &s->matrices[i].int8 : &measured, s->linears[i]->in,
                           s->linears[i]->out, arena);
    }
}

static void move(float **field, float *to, size_t count) {
    memcpy(to, *field, count * sizeof(float));
    *field = to;
}

/* Moves what stays fp32 into the new arena; nothing else is left of the parameters. */
static void move_parameters(const struct served *s) {
    struct model *model = s->model;
    const struct model_config *c = &model->config;
    size_t d_model = (size_t)c->d_model;
    struct parameters kept = {.embedding = model->parameters.embedding};
    move(&kept.embedding, s->embedding, (size_t)c->vocab * d_model);
    move(&model->position_table, s->position_table, (size_t)c->positions * d_model);
    for (int i = 0; i < c->layers; i++) {
        const struct layer_parameters *from = &model->parameters.layers[i];
        struct layer_parameters *to = &kept.layers[i];
        float *norms = s->norms + (size_t)i * 4 * d_model;
        *to = (struct layer_parameters){.norm1_weight = from->norm1_weight,
                                        .norm1_bias = from->norm1_bias,
                                        .norm2_weight = from->norm2_weight,
                                        .norm2_bias = from->norm2_bias};
        move(&to->norm1_weight, norms, d_model);
        move(&to->norm1_bias, norms + d_model, d_model);
        move(&to->norm2_weight, norms + 2 * d_model, d_model);
        move(&to->norm2_bias, norms + 3 * d_model, d_model);
    }
    model->parameters = kept;
}

enum status model_prepare(struct model *model, enum dtype dtype, struct error *err) {
    assert(model->dtype == DTYPE_F32);
    if (dtype == DTYPE_F32)
        return STATUS_OK;
    if (dtype != DTYPE_INT8)
        return error_set_field(err, STATUS_UNSUPPORTED, "numeric",
                               "a model is served in f32 or int8, not in %s", dtype_name(dtype));
    struct served served = {.model = model};
    struct arena arena;
    served.count = model_linears(model, served.linears);
    enum status status = arena_build(&arena, layout, &served, err);
    if (status != STATUS_OK)
        return status;
    for (int i = 0; i < served.count; i++) {
        struct linear *linear = served.linears[i];
        int8_matrix_pack(&served.matrices[i].int8, linear->weight, linear->bias);
        *linear = (struct linear){.dtype = DTYPE_INT8,
                                  .in = linear->in,
                                  .out = linear->out,
                                  .bias = served.matrices[i].int8.bias,
                                  .packed = &served.matrices[i]};
    }
    move_parameters(&served);
    arena_destroy(&model->arena);
    model->arena = arena;
    model->buffer = NULL;
    model->dtype = dtype;
    return STATUS_OK;
}
