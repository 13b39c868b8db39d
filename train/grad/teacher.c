#include "train/grad/teacher.h"

#include "base/file.h"
#include "base/flags.h"
#include "base/hash.h"
#include "base/pool.h"
#include "model/kernels/kernels.h"
#include "model/pack_weights.h"
#include "model/weights.h"
#include "train/grad/loss.h"

#include <stdlib.h>
#include <string.h>

struct member {
    struct model *model;
    struct packed_weights *packed; /* NULL in F32 */
    struct activations activations;
};

struct teacher {
    int count;
    size_t vocab;
    struct member members[TEACHER_MAX_MODELS];
    float *mean, *logits; /* [LOSS_CHUNK, vocab] */
    struct arena arena;
};

/* ---- opening -------------------------------------------------------------- */

static enum status open_member(struct member *m, const char *folder,
                               const struct teacher_options *o, struct pool *pool,
                               struct error *err) {
    const struct model_config *student = o->student;
    enum status status = weights_load(folder, &m->model, err);
    if (status != STATUS_OK)
        return status;
    const struct model_config *c = &m->model->config;
    if (c->vocab != student->vocab || c->positions < student->positions)
        return error_set(err, STATUS_INVALID,
                         "%s has %d pieces and %d positions; as a teacher it needs %d and %d",
                         folder, c->vocab, c->positions, student->vocab, student->positions);
    if (o->max_rows == 0)
        return STATUS_OK;
    status = activations_create(&m->activations, c, o->max_rows, false, pool_workers(pool), err);
    if (status == STATUS_OK)
        status = packed_weights_create(&m->packed, m->model, o->dtype, false, pool, err);
    return status;
}

static enum status open_members(struct teacher *t, const struct teacher_options *o,
                                struct pool *pool, struct error *err) {
    enum status status = STATUS_OK;
    for (const char *left = o->folders; status == STATUS_OK && left;) {
        char folder[FILE_PATH_BYTES];
        if (t->count == TEACHER_MAX_MODELS)
            return error_set_field(err, STATUS_INVALID, "teacher",
                                   "--teacher takes %d model folders at most", TEACHER_MAX_MODELS);
        status = flags_next_item(&left, "teacher", folder, sizeof folder, err);
        if (status == STATUS_OK)
            status = weights_check_tokenizer(folder, o->tokenizer, err);
        if (status == STATUS_OK)
            status = open_member(&t->members[t->count++], folder, o, pool, err);
    }
    return status;
}

static void layout(void *context, struct arena *arena) {
    struct teacher *t = context;
    t->mean = arena_take(arena, (size_t)LOSS_CHUNK * t->vocab, sizeof(float));
    t->logits = arena_take(arena, (size_t)LOSS_CHUNK * t->vocab, sizeof(float));
}

enum status teacher_open(struct teacher **out, const struct teacher_options *options,
                         struct pool *pool, struct error *err) {
    *out = NULL;
    struct teacher *t = calloc(1, sizeof *t);
    if (!t)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the teacher");
    t->vocab = (size_t)options->student->vocab;
    enum status status = arena_build(&t->arena, layout, t, err);
    if (status == STATUS_OK)
        status = open_members(t, options, pool, err);
    if (status != STATUS_OK)
        teacher_close(t);
    else
        *out = t;
    return status;
}

void teacher_close(struct teacher *t) {
    if (!t)
        return;
    for (int i = 0; i < t->count; i++) {
        packed_weights_destroy(t->members[i].packed);
        activations_destroy(&t->members[i].activations);
        model_destroy(t->members[i].model);
    }
    arena_destroy(&t->arena);
    free(t);
}

int teacher_models(const struct teacher *t, const struct model **models) {
    for (int i = 0; i < t->count; i++)
        models[i] = t->members[i].model;
    return t->count;
}

uint64_t teacher_hash(const struct teacher *t) {
    uint64_t hash = 0;
    for (int i = 0; i < t->count; i++) {
        const struct model *m = t->members[i].model;
        hash = hash_bytes(hash, m->buffer, model_buffer_floats(&m->config) * sizeof(float));
    }
    return hash;
}

/* ---- predictions ---------------------------------------------------------- */

static struct forward_context context_of(struct member *m, struct pool *pool) {
    return (struct forward_context){m->model, pool, &m->activations};
}

void teacher_run(struct teacher *t, struct pool *pool, const struct batch *batch) {
    struct batch plain = {.ids = batch->ids, .rows = batch->rows, .spans = batch->spans,
                          .span_count = batch->span_count};
    for (int i = 0; i < t->count; i++) {
        struct forward_context context = context_of(&t->members[i], pool);
        forward(&context, &plain);
    }
}

struct task {
    struct teacher *teacher;
    float *logits;
    size_t rows;
    bool add;
};

static void softmax_worker(void *context, int worker, int workers) {
    const struct task *t = context;
    const struct kernels *k = kernels_get();
    size_t vocab = t->teacher->vocab, begin, end;
    float share = 1.0f / (float)t->teacher->count;
    pool_slice(t->rows, 1, worker, workers, &begin, &end);
    for (size_t row = begin; row < end; row++) {
        float *p = t->logits + row * vocab, *mean = t->teacher->mean + row * vocab;
        (void)k->softmax(p, vocab);
        for (size_t i = 0; t->teacher->count > 1 && i < vocab; i++)
            p[i] *= share;
        if (t->add)
            k->add(mean, p, vocab);
    }
}

const float *teacher_probabilities(struct teacher *t, struct pool *pool, size_t first,
                                   size_t count) {
    for (int i = 0; i < t->count; i++) {
        struct task task = {t, i ? t->logits : t->mean, count, i > 0};
        struct forward_context context = context_of(&t->members[i], pool);
        forward_logits_range(&context, (int)first, (int)count, task.logits);
        pool_run(pool, softmax_worker, &task);
    }
    return t->mean;
}
