#include "train/optim/muon.h"

#include "base/pool.h"
#include "train/optim/element.h"
#include "train/optim/orthogonalize.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

bool muon_applies(const struct tensor_info *info) {
    return info->layer >= 0 && info->rank == 2;
}

/* in_proj holds three matrices, q, k and v, one under another. */
static size_t parts_of(const struct tensor_info *info, const struct model_config *config) {
    return info->rows == 3 * (size_t)config->d_model && info->columns == (size_t)config->d_model
               ? 3
               : 1;
}

/* Floats that a matrix takes when what follows it begins a cache line. */
static size_t aligned_floats(size_t count) {
    return (count + 15) / 16 * 16;
}

/* ---- the matrices --------------------------------------------------------- */

struct matrix {
    int tensor;           /* of the model's table */
    size_t part;          /* of the tensor */
    size_t offset;        /* in the parameters */
    size_t rows, columns;
    double cost; /* of orthogonalizing it, in multiply-adds of one of five iterations */
};

/* The matrix after `m`, in the table's order; NONE before the first. False after the last. */
static const struct matrix NONE = {.tensor = -1};
static bool next_matrix(const struct model_config *config, struct matrix *m) {
    struct tensor_info info;
    if (m->tensor >= 0) {
        model_tensor(config, m->tensor, &info);
        m->part++;
    }
    while (m->tensor < 0 || !muon_applies(&info) || m->part == parts_of(&info, config)) {
        if (++m->tensor == model_tensor_count(config))
            return false;
        model_tensor(config, m->tensor, &info);
        m->part = 0;
    }
    m->rows = info.rows / parts_of(&info, config);
    m->columns = info.columns;
    m->offset = info.offset + m->part * m->rows * m->columns;
    double n = (double)(m->rows < m->columns ? m->rows : m->columns);
    double length = (double)(m->rows < m->columns ? m->columns : m->rows);
    m->cost = n * n * (length + n / 2 + length); /* two symmetric products, of which half is done */
    return true;
}

void muon_bounds(const struct model_config *config, int parts, size_t *bounds) {
    double total = 0, before = 0;
    for (struct matrix m = NONE; next_matrix(config, &m);)
        total += m.cost;
    int part = 0;
    size_t end = 0;
    for (struct matrix m = NONE; next_matrix(config, &m); before += m.cost) {
        int its = (int)((before + m.cost / 2) / total * parts);
        if (end == 0)
            bounds[0] = m.offset;
        while (part < its)
            bounds[++part] = m.offset;
        end = m.offset + m.rows * m.columns;
    }
    while (part < parts)
        bounds[++part] = end;
}

/* What one worker needs: the largest matrix's update and the scratch to orthogonalize it. */
static size_t worker_floats(const struct model_config *config) {
    size_t most = 0;
    for (struct matrix m = NONE; next_matrix(config, &m);) {
        size_t floats = aligned_floats(m.rows * m.columns) +
                        orthogonalize_scratch_floats(m.rows, m.columns);
        most = floats > most ? floats : most;
    }
    return aligned_floats(most);
}

/* And what has been dealt out to each worker. */
static size_t loads_floats(int workers) {
    return aligned_floats((size_t)workers);
}

size_t muon_scratch_floats(const struct model_config *config, int workers) {
    return (size_t)workers * (worker_floats(config) + loads_floats(workers));
}

/* ---- the update ----------------------------------------------------------- */

struct task {
    const struct muon_options *options;
    float *parameters;
    const float *gradients;
    float *momentum, *scratch;
    size_t begin, end; /* of the parameters: this part's matrices */
};

static void update_matrix(const struct task *t, const struct matrix *matrix, float *scratch) {
    const struct muon_options *o = t->options;
    size_t count = matrix->rows * matrix->columns, rows = matrix->rows, columns = matrix->columns;
    float *p = t->parameters + matrix->offset, *m = t->momentum + matrix->offset;
    const float *g = t->gradients + matrix->offset;
    float *update = scratch;
    for (size_t i = 0; i < count; i++)
        update[i] = muon_direction(o->momentum, g[i] * o->gradient_scale, &m[i]);
    orthogonalize(update, rows, columns, o->dtype, scratch + aligned_floats(count));
    float ratio = rows > columns ? sqrtf((float)rows / (float)columns) : 1.0f;
    float kept = 1.0f - o->rate * o->weight_decay;
    for (size_t i = 0; i < count; i++)
        p[i] = p[i] * kept - o->rate * ratio * update[i];
}

/* Of another part's matrix, a worker's slice. */
static void update_momentum(const struct task *t, const struct matrix *matrix, int worker,
                            int workers) {
    size_t begin, end;
    pool_slice(matrix->rows * matrix->columns, 16, worker, workers, &begin, &end);
    for (size_t i = matrix->offset + begin; i < matrix->offset + end; i++)
        (void)muon_direction(t->options->momentum, t->gradients[i] * t->options->gradient_scale,
                             &t->momentum[i]);
}

static bool is_own(const struct task *t, const struct matrix *m) {
    return m->offset >= t->begin && m->offset < t->end;
}

/* The largest cost of this part's matrices that is below `limit`; 0 when there is none. */
static double next_cost(const struct task *t, double limit) {
    double most = 0;
    for (struct matrix m = NONE; next_matrix(t->options->config, &m);)
        if (is_own(t, &m) && m.cost < limit && m.cost > most)
            most = m.cost;
    return most;
}

/* The worker with the least to do gets so much more. */
static int deal(float *loads, int workers, double cost) {
    int least = 0;
    for (int w = 1; w < workers; w++)
        if (loads[w] < loads[least])
            least = w;
    loads[least] += (float)cost;
    return least;
}

/* Every worker deals out all matrices, dear ones first, and updates its own. */
static void worker_main(void *context, int worker, int workers) {
    const struct task *t = context;
    const struct model_config *config = t->options->config;
    size_t floats = worker_floats(config);
    float *scratch = t->scratch + (size_t)worker * (floats + loads_floats(workers));
    float *loads = scratch + floats;
    memset(loads, 0, (size_t)workers * sizeof *loads);
    for (double cost = next_cost(t, INFINITY); cost > 0; cost = next_cost(t, cost))
        for (struct matrix m = NONE; next_matrix(config, &m);)
            if (is_own(t, &m) && m.cost >= cost && m.cost <= cost &&
                deal(loads, workers, cost) == worker)
                update_matrix(t, &m, scratch);
    for (struct matrix m = NONE; next_matrix(config, &m);)
        if (!is_own(t, &m))
            update_momentum(t, &m, worker, workers);
}

void muon_step(const struct muon_options *options, struct pool *pool, float *parameters,
               const float *gradients, float *momentum, float *scratch) {
    struct task task = {options, parameters, gradients, momentum, scratch, 0, SIZE_MAX};
    if (options->bounds) {
        task.begin = options->bounds[options->part];
        task.end = options->bounds[options->part + 1];
    }
    pool_run(pool, worker_main, &task);
}
