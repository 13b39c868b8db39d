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

/* One step of Adam with decoupled decay. */
struct adam {
    const struct optimizer_options *options;
    float rate, weight_decay, gradient_scale;
    uint64_t steps; /* counts from 1 */
};

/* Updates p[count] from g[count] * gradient_scale; m and v are its moments. The bias corrections
 * follow torch: p -= rate / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps). */
static void adam_update(const struct adam *a, float *p, const float *g, float *m,
                        float *v, size_t count) {
    const float b1 = a->options->beta1, b2 = a->options->beta2, eps = a->options->eps;
    const double t = (double)a->steps;
    const float rate = (float)((double)a->rate / (1 - pow((double)b1, t)));
    const float root = (float)(1 / sqrt(1 - pow((double)b2, t)));
    const float kept = 1.0f - a->rate * a->weight_decay, scale = a->gradient_scale;
    for (size_t i = 0; i < count; i++) {
        float gradient = g[i] * scale;
        m[i] = b1 * m[i] + (1.0f - b1) * gradient;
        v[i] = b2 * v[i] + (1.0f - b2) * gradient * gradient;
        p[i] = p[i] * kept - rate * m[i] / (sqrtf(v[i]) * root + eps);
    }
}

struct adam_task {
    const struct optimizer *optimizer;
    struct adam adam;
    float *parameters;
    const float *gradients;
};

static bool decays(const struct optimizer *o, const struct tensor_info *info) {
    return o->options.kind != OPTIMIZER_ADAM && (info->decays || o->options.decay_all);
}

static void adam_worker(void *context, int worker, int workers) {
    const struct adam_task *t = context;
    const struct optimizer *o = t->optimizer;
    for (int i = 0; i < model_tensor_count(&o->config); i++) {
        struct tensor_info info;
        size_t begin, end;
        model_tensor(&o->config, i, &info);
        if (o->options.kind == OPTIMIZER_MUON && muon_applies(&info))
            continue;
        struct adam adam = t->adam;
        if (!decays(o, &info))
            adam.weight_decay = 0;
        pool_slice(info.count, 16, worker, workers, &begin, &end);
        begin += info.offset;
        end += info.offset;
        adam_update(&adam, t->parameters + begin, t->gradients + begin, o->moment1 + begin,
                    o->moment2 + begin, end - begin);
    }
}

void optimizer_step(struct optimizer *o, struct pool *pool, float *parameters,
                    const float *gradients, float gradient_scale, struct learning_rates rates) {
    o->steps++;
    struct adam_task task = {
        o, {&o->options, rates.others, rates.weight_decay, gradient_scale, o->steps}, parameters,
        gradients};
    pool_run(pool, adam_worker, &task);
    if (o->options.kind == OPTIMIZER_MUON) {
        struct muon_options muon = {&o->config, rates.matrices, o->options.momentum, rates.weight_decay,
                                    gradient_scale, o->dtype, o->options.bounds, o->options.part};
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
