/* A model for serving: integer matrices, and in fp32 only what is read as such. */
#include "model/model.h"
#include "model/pack_weights.h"
#include "model/position_table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* What an INT8 model consists of, in one arena; of one that was packed, the norms and what the
 * matrices point at lie in the packed bytes. */
struct served {
    struct model *model;
    struct linear *linears[MODEL_MAX_LINEARS];
    int count;
    struct packed_matrix *matrices; /* [count] */
    float *embedding, *position_table;
    float *norms; /* [layers, 4, d_model] weight and bias of norm1, then of norm2 */
};

static void layout_own(void *context, struct arena *arena) {
    struct served *s = context;
    const struct model_config *c = &s->model->config;
    size_t d_model = (size_t)c->d_model;
    s->matrices = arena_take(arena, (size_t)s->count, sizeof *s->matrices);
    s->embedding = arena_take(arena, (size_t)c->vocab * d_model, sizeof(float));
    s->position_table = arena_take(arena, (size_t)c->positions * d_model, sizeof(float));
}

/* What a packed model holds as it is. */
static void layout_packed(struct served *s, struct arena *arena) {
    const struct model_config *c = &s->model->config;
    s->norms = arena_take(arena, (size_t)c->layers * 4 * (size_t)c->d_model, sizeof(float));
    for (int i = 0; i < s->count; i++) {
        struct int8_matrix measured;
        int8_matrix_layout(s->matrices ? &s->matrices[i].int8 : &measured, s->linears[i]->in,
                           s->linears[i]->out, arena);
    }
}

static void layout(void *context, struct arena *arena) {
    layout_own(context, arena);
    layout_packed(context, arena);
}

static void use_matrices(const struct served *s) {
    for (int i = 0; i < s->count; i++)
        *s->linears[i] = (struct linear){.dtype = DTYPE_INT8,
                                         .in = s->linears[i]->in,
                                         .out = s->linears[i]->out,
                                         .bias = s->matrices[i].int8.bias,
                                         .packed = &s->matrices[i]};
}

/* The parameters that are left, in the served model's memory. */
static struct parameters served_parameters(const struct served *s) {
    struct parameters kept = {.embedding = s->embedding};
    size_t d_model = (size_t)s->model->config.d_model;
    for (int i = 0; i < s->model->config.layers; i++) {
        float *norms = s->norms + (size_t)i * 4 * d_model;
        kept.layers[i] = (struct layer_parameters){.norm1_weight = norms,
                                                   .norm1_bias = norms + d_model,
                                                   .norm2_weight = norms + 2 * d_model,
                                                   .norm2_bias = norms + 3 * d_model};
    }
    return kept;
}

/* Copies what stays fp32 into the new arena; nothing else is left of the parameters. */
static void move_parameters(const struct served *s) {
    struct model *model = s->model;
    const struct model_config *c = &model->config;
    size_t d_model = (size_t)c->d_model, row = d_model * sizeof(float);
    struct parameters kept = served_parameters(s);
    memcpy(s->embedding, model->parameters.embedding, (size_t)c->vocab * row);
    memcpy(s->position_table, model->position_table, (size_t)c->positions * row);
    for (int i = 0; i < c->layers; i++) {
        const struct layer_parameters *from = &model->parameters.layers[i];
        const struct layer_parameters *to = &kept.layers[i];
        memcpy(to->norm1_weight, from->norm1_weight, row);
        memcpy(to->norm1_bias, from->norm1_bias, row);
        memcpy(to->norm2_weight, from->norm2_weight, row);
        memcpy(to->norm2_bias, from->norm2_bias, row);
    }
    model->parameters = kept;
    model->position_table = s->position_table;
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
    for (int i = 0; i < served.count; i++)
        int8_matrix_pack(&served.matrices[i].int8, served.linears[i]->weight,
                         served.linears[i]->bias);
    use_matrices(&served);
    move_parameters(&served);
    arena_destroy(&model->arena);
    model->arena = arena;
    model->buffer = NULL;
    model->dtype = dtype;
    return STATUS_OK;
}

/* ---- packed: a header, the embedding as BF16, and what layout_packed() takes -------- */

struct packed_header {
    uint32_t magic, version;
    struct model_config config;
};
_Static_assert(sizeof(struct packed_header) == 2 * 4 + 11 * 4, "32-bit numbers without gaps");
enum { PACKED_MAGIC = 0x41504c41, PACKED_VERSION = 1 }; /* "ALPA" on a little-endian machine */

/* Where the parts of a packed model of this shape are. */
struct packed_parts {
    struct packed_header *header;
    uint16_t *embedding; /* [vocab, d_model] the upper halves of fp32 */
    struct arena arena;  /* behind them */
};

static struct packed_parts find_parts(const struct model_config *c, void *bytes) {
    struct packed_parts parts = {.arena = {.memory = bytes, .size = (size_t)-1}};
    parts.header = arena_take(&parts.arena, 1, sizeof *parts.header);
    parts.embedding = arena_take(&parts.arena, (size_t)c->vocab * (size_t)c->d_model,
                                 sizeof *parts.embedding);
    return parts;
}

static size_t packed_bytes(struct served *s) {
    struct packed_parts parts = find_parts(&s->model->config, NULL);
    layout_packed(s, &parts.arena);
    return parts.arena.used;
}

enum status model_pack(const struct model *model, struct buffer *out, struct error *err) {
    const struct model_config *c = &model->config;
    assert(model->dtype == DTYPE_INT8);
    /* The arena ends with what layout_packed() took, first the norms. */
    const unsigned char *from = (const unsigned char *)model->parameters.layers[0].norm1_weight;
    size_t before = find_parts(c, NULL).arena.used;
    size_t rest = model->arena.used - (size_t)(from - model->arena.memory);
    void *bytes = aligned_alloc(ARENA_ALIGNMENT, before + rest);
    if (!bytes)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the packed model");
    memset(bytes, 0, before);
    struct packed_parts parts = find_parts(c, bytes);
    *parts.header = (struct packed_header){PACKED_MAGIC, PACKED_VERSION, *c};
    uint32_t lost = 0;
    for (size_t i = 0; i < (size_t)c->vocab * (size_t)c->d_model; i++) {
        uint32_t bits;
        memcpy(&bits, &model->parameters.embedding[i], sizeof bits);
        parts.embedding[i] = (uint16_t)(bits >> 16);
        lost |= bits & 0xffff;
    }
    memcpy((unsigned char *)bytes + before, from, rest);
    enum status status = STATUS_OK;
    if (lost)
        status = error_set(err, STATUS_UNSUPPORTED,
                           "only a model that was saved as BF16 can be packed");
    else if (!buffer_append(out, bytes, before + rest))
        status = error_set(err, STATUS_NO_MEMORY, "no memory for the packed model");
    free(bytes);
    return status;
}

static enum status check_packed(struct served *s, const void *bytes, size_t count,
                                struct error *err) {
    struct packed_header header;
    if (count < sizeof header)
        return error_set(err, STATUS_CORRUPT, "a packed model is cut off");
    memcpy(&header, bytes, sizeof header);
    if (header.magic != PACKED_MAGIC || header.version != PACKED_VERSION)
        return error_set(err, STATUS_CORRUPT, "this is no packed model that can be read here");
    s->model->config = header.config;
    enum status status = model_config_check(&header.config, err);
    if (status != STATUS_OK)
        return status;
    model_bind_linears(s->model);
    s->count = model_linears(s->model, s->linears);
    if (packed_bytes(s) != count)
        return error_set(err, STATUS_CORRUPT, "a packed model of this shape has %zu bytes, not %zu",
                         packed_bytes(s), count);
    return STATUS_OK;
}

enum status model_unpack(struct model **out, const void *bytes, size_t count, struct error *err) {
    struct model *model = calloc(1, sizeof *model);
    struct served served = {.model = model};
    *out = NULL;
    if (!model)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the model");
    enum status status = check_packed(&served, bytes, count, err);
    if (status == STATUS_OK)
        status = arena_build(&model->arena, layout_own, &served, err);
    if (status != STATUS_OK) {
        model_destroy(model);
        return status;
    }
    const struct model_config *c = &model->config;
    struct packed_parts parts = find_parts(c, (void *)(uintptr_t)bytes); /* only read */
    layout_packed(&served, &parts.arena);
    for (size_t i = 0; i < (size_t)c->vocab * (size_t)c->d_model; i++) {
        uint32_t bits = (uint32_t)parts.embedding[i] << 16;
        memcpy(&served.embedding[i], &bits, sizeof bits);
    }
    position_table_fill(served.position_table, c->positions, c->d_model);
    use_matrices(&served);
    model->parameters = served_parameters(&served);
    model->position_table = served.position_table;
    model->dtype = DTYPE_INT8;
    *out = model;
    return STATUS_OK;
}
