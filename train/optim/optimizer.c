#include "train/optim/optimizer.h"

#include "base/pool.h"
#include "train/optim/muon.h"

#include <math.h>
#include <string.h>

bool optimizer_kind_parse(const char *name, enum optimizer_kind *kind) {
    static const char *const names[] = {"adam", "adamw", "muon"};
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) {
            *kind = (enum optimizer_kind)i;
            return true;
        }
    return false;
}

static void layout(void *context, struct arena *arena) {
    struct optimizer *o = context;
    size_t floats = model_buffer_floats(&o->config);
    o->moment1 = arena_take(arena, floats, sizeof(float));
    o->moment2 = arena_take(arena, floats, sizeof(float));
    if (o->options.kind == OPTIMIZER_MUON)
        o->scratch = arena_take(arena, muon_scratch_floats(&o->config, o->workers), sizeof(float));
}

enum status optimizer_create(struct optimizer *o, const struct optimizer_options *options,
                             enum dtype dtype, const struct model_config *config, int workers,
                             struct error *err) {
    *o = (struct optimizer){.options = *options, .dtype = dtype, .config = *config,
                             .workers = workers};
    return arena_build(&o->arena, layout, o, err);
}

void optimizer_destroy(struct optimizer *o) {
    arena_destroy(&o->arena);
    *o = (struct optimizer){0};
}

struct adam_step adam_step_at(const struct optimizer_options *o, float rate, float gradient_scale,
                              uint64_t steps) {
    const double t = (double)steps;
    return (struct adam_step){.beta1 = o->beta1,
                              .beta2 = o->beta2,
                              .eps = o->eps,
                              .rate = (float)((double)rate / (1 - pow((double)o->beta1, t))),
                              .root = (float)(1 / sqrt(1 - pow((double)o->beta2, t))),
                              .kept = 1.0f,
                              .gradient_scale = gradient_scale};
}

struct adam_task {
    const struct optimizer *optimizer;
    struct adam_step step;
    float kept_where_decays;
    float *parameters;
    const float *gradients;
};

static void adam_worker(void *context, int worker, int workers) {
    const struct adam_task *t = context;
    const struct optimizer *o = t->optimizer;
    for (int i = 0; i < model_tensor_count(&o->config); i++) {
        struct tensor_info info;
        size_t begin, end;
        model_tensor(&o->config, i, &info);
        if (o->options.kind == OPTIMIZER_MUON && muon_applies(&info))
            continue;
        struct adam_step step = t->step;
        if (o->options.kind != OPTIMIZER_ADAM && info.decays)
            step.kept = t->kept_where_decays;
        pool_slice(info.count, 16, worker, workers, &begin, &end);
        float *p = t->parameters + info.offset;
        const float *g = t->gradients + info.offset;
        float *m = o->moment1 + info.offset, *v = o->moment2 + info.offset;
        for (size_t at = begin; at < end; at++)
            p[at] = adam_element(&step, p[at], g[at], &m[at], &v[at]);
    }
}

void optimizer_step(struct optimizer *o, struct pool *pool, float *parameters,
                    const float *gradients, float gradient_scale, struct learning_rates rates) {
    o->steps++;
    struct adam_task task = {o, adam_step_at(&o->options, rates.others, gradient_scale, o->steps),
                             1.0f - rates.others * rates.weight_decay, parameters, gradients};
    pool_run(pool, adam_worker, &task);
    if (o->options.kind == OPTIMIZER_MUON) {
        struct muon_options muon = {&o->config, rates.matrices, o->options.momentum,
                                    rates.weight_decay, gradient_scale, o->dtype,
                                    o->options.bounds, o->options.part};
        muon_step(&muon, pool, parameters, gradients, o->moment1, o->scratch);
    }
}

/* ---- gradient norm -------------------------------------------------------- */

enum { NORM_PARTS = 64 }; /* fixed, so that the sum does not depend on the workers */

struct norm_task {
    const float *gradients;
    size_t count;
    double sums[NORM_PARTS];
};

static void norm_worker(void *context, int worker, int workers) {
    struct norm_task *t = context;
    for (int part = worker; part < NORM_PARTS; part += workers) {
        size_t begin, end;
        pool_slice(t->count, 16, part, NORM_PARTS, &begin, &end);
        double sum = 0;
        for (size_t i = begin; i < end; i++)
            sum += (double)t->gradients[i] * (double)t->gradients[i];
        t->sums[part] = sum;
    }
}

double gradient_norm(struct pool *pool, const float *gradients, size_t count) {
    struct norm_task task = {.gradients = gradients, .count = count};
    pool_run(pool, norm_worker, &task);
    double sum = 0;
    for (int part = 0; part < NORM_PARTS; part++)
        sum += task.sums[part];
    return sqrt(sum);
}
