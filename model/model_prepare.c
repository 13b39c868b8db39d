/* Serving's form of a model: integer matrices, and in fp32 only what is read as such. */
#include "model/linear_int8.h"
#include "model/model.h"

#include <assert.h>
#include <string.h>

enum { LINEARS = 4 }; /* per layer */

/* What the INT8 form consists of, in one arena. */
struct narrow {
    struct int8_matrix *matrices; /* [layers * LINEARS + 1], the head's last */
    float *embedding, *position_table;
    float *norms; /* [layers, 4, d_model] weight and bias of norm1, then of norm2 */
};

static struct linear *linear_at(struct model *model, int index) {
    if (index == model->config.layers * LINEARS)
        return &model->head;
    struct layer_linears *l = &model->linears[index / LINEARS];
    struct linear *const four[LINEARS] = {&l->in_proj, &l->out_proj, &l->linear1, &l->linear2};
    return four[index % LINEARS];
}

static void layout(struct narrow *narrow, struct model *model, struct arena *arena) {
    const struct model_config *c = &model->config;
    int count = c->layers * LINEARS + 1;
    size_t d_model = (size_t)c->d_model;
    narrow->matrices = arena_take(arena, (size_t)count, sizeof *narrow->matrices);
    narrow->embedding = arena_take(arena, (size_t)c->vocab * d_model, sizeof(float));
    narrow->position_table = arena_take(arena, (size_t)c->positions * d_model, sizeof(float));
    narrow->norms = arena_take(arena, (size_t)c->layers * 4 * d_model, sizeof(float));
    for (int i = 0; i < count; i++) {
        const struct linear *linear = linear_at(model, i);
        struct int8_matrix measured;
        int8_matrix_layout(narrow->matrices ? &narrow->matrices[i] : &measured, linear->in,
                           linear->out, arena);
    }
}

static void move_norms(struct layer_parameters *p, float *norms, size_t d_model) {
    float **const fields[4] = {&p->norm1_weight, &p->norm1_bias, &p->norm2_weight, &p->norm2_bias};
    for (size_t i = 0; i < 4; i++) {
        memcpy(norms + i * d_model, *fields[i], d_model * sizeof(float));
        *fields[i] = norms + i * d_model;
    }
}

static void fill(const struct narrow *narrow, struct model *model) {
    const struct model_config *c = &model->config;
    size_t d_model = (size_t)c->d_model;
    struct parameters kept = {.embedding = narrow->embedding};
    memcpy(kept.embedding, model->parameters.embedding,
           (size_t)c->vocab * d_model * sizeof(float));
    memcpy(narrow->position_table, model->position_table,
           (size_t)c->positions * d_model * sizeof(float));
    for (int i = 0; i < c->layers; i++) {
        const struct layer_parameters *p = &model->parameters.layers[i];
        kept.layers[i] = (struct layer_parameters){.norm1_weight = p->norm1_weight,
                                                   .norm1_bias = p->norm1_bias,
                                                   .norm2_weight = p->norm2_weight,
                                                   .norm2_bias = p->norm2_bias};
        move_norms(&kept.layers[i], narrow->norms + (size_t)i * 4 * d_model, d_model);
    }
    for (int i = 0; i <= c->layers * LINEARS; i++) {
        struct linear *linear = linear_at(model, i);
        int8_matrix_fill(&narrow->matrices[i], linear->weight, linear->bias);
        *linear = (struct linear){.dtype = DTYPE_INT8,
                                  .in = linear->in,
                                  .out = linear->out,
                                  .bias = narrow->matrices[i].bias,
                                  .int8 = &narrow->matrices[i]};
    }
    model->parameters = kept;
    model->position_table = narrow->position_table;
}

enum status model_prepare(struct model *model, enum dtype dtype, struct error *err) {
    assert(model->dtype == DTYPE_F32);
    if (dtype == DTYPE_F32)
        return STATUS_OK;
    if (dtype != DTYPE_INT8)
        return error_set_field(err, STATUS_UNSUPPORTED, "numeric",
                               "stories are told in f32 or int8, not in %s", dtype_name(dtype));
    struct narrow narrow;
    struct arena arena = {0};
    layout(&narrow, model, &arena);
    enum status status = arena_create(&arena, arena.used, err);
    if (status != STATUS_OK)
        return status;
    layout(&narrow, model, &arena);
    fill(&narrow, model);
    arena_destroy(&model->arena);
    model->arena = arena;
    model->buffer = NULL;
    model->dtype = dtype;
    return STATUS_OK;
}
