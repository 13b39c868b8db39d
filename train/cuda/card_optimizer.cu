#include "train/cuda/card_optimizer.h"

#include "train/cuda/rows.h"

extern "C" {
#include "train/optim/element.h"
#include "train/optim/muon.h"
}

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    THREADS = 256,
    KIND_FLOATS = 16,   /* tensors begin at multiples of so many (model/model.h) */
    NORM_BLOCKS = 512,  /* that share out a buffer */
    MATRIX_BLOCKS = 64, /* and one of Muon's matrices */
};

/* What Adam does. */
enum { KIND_NONE, KIND_PLAIN, KIND_DECAYS };

/* ---- which tensor gets what ----------------------------------------------- */

/* in_proj holds three matrices, q, k and v, one under another. */
static int parts_of(const struct tensor_info *info, const struct model_config *c) {
    return info->rows == 3 * (size_t)c->d_model && info->columns == (size_t)c->d_model ? 3 : 1;
}

static struct muon_shape *shape_for(struct card_optimizer *o, int rows, int columns) {
    int i = 0;
    while (i < o->shape_count && (o->shapes[i].rows != rows || o->shapes[i].columns != columns))
        i++;
    if (i == o->shape_count)
        o->shapes[o->shape_count++] = (struct muon_shape){rows, columns, 0, NULL};
    return &o->shapes[i];
}

/* Calls visit for each of Muon's matrices, with where it begins. */
template <typename F> static void each_matrix(struct card_optimizer *o, F visit) {
    for (int t = 0; t < model_tensor_count(&o->config); t++) {
        struct tensor_info info;
        model_tensor(&o->config, t, &info);
        if (o->options.kind != OPTIMIZER_MUON || !muon_applies(&info))
            continue;
        int parts = parts_of(&info, &o->config), rows = (int)info.rows / parts;
        for (int part = 0; part < parts; part++)
            visit(shape_for(o, rows, (int)info.columns),
                  info.offset + (size_t)part * (size_t)rows * info.columns);
    }
}

static enum status copy_kinds(struct card_optimizer *o, struct error *err) {
    size_t count = o->floats / KIND_FLOATS;
    uint8_t *kinds = (uint8_t *)calloc(count, 1);
    if (!kinds)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the optimizer");
    for (int t = 0; t < model_tensor_count(&o->config); t++) {
        struct tensor_info info;
        model_tensor(&o->config, t, &info);
        bool decays = o->options.kind != OPTIMIZER_ADAM && info.decays;
        uint8_t kind = decays ? KIND_DECAYS : KIND_PLAIN;
        if (o->options.kind == OPTIMIZER_MUON && muon_applies(&info))
            kind = KIND_NONE;
        memset(kinds + info.offset / KIND_FLOATS, kind, blocks_for(info.count, KIND_FLOATS));
    }
    enum status status =
        card_status(cudaMemcpy(o->kinds, kinds, count, cudaMemcpyHostToDevice), "optimizer", err);
    free(kinds);
    return status;
}

static enum status copy_offsets(struct card_optimizer *o, struct error *err) {
    for (int i = 0; i < o->shape_count; i++) {
        struct muon_shape *shape = &o->shapes[i];
        size_t bytes = (size_t)shape->count * sizeof *shape->offsets, n = 0;
        size_t *offsets = (size_t *)malloc(bytes);
        if (!offsets)
            return error_set(err, STATUS_NO_MEMORY, "no memory for the optimizer");
        each_matrix(o, [&](struct muon_shape *of, size_t offset) {
            if (of == shape)
                offsets[n++] = offset;
        });
        enum status status = card_status(
            cudaMemcpy(shape->offsets, offsets, bytes, cudaMemcpyHostToDevice), "optimizer", err);
        free(offsets);
        TRY(status);
    }
    return STATUS_OK;
}

static size_t smaller_side(const struct muon_shape *s) {
    return (size_t)(s->rows < s->columns ? s->rows : s->columns);
}

static size_t larger(size_t x, size_t y) {
    return x > y ? x : y;
}

static void layout(void *context, struct arena *arena) {
    struct card_optimizer *o = (struct card_optimizer *)context;
    size_t numbers = 0, squares = 0, parts = NORM_BLOCKS;
    o->moment1 = (float *)arena_take(arena, o->floats, sizeof(float));
    o->moment2 = (float *)arena_take(arena, o->floats, sizeof(float));
    if (o->averages)
        o->average = (float *)arena_take(arena, o->floats, sizeof(float));
    o->kinds = (uint8_t *)arena_take(arena, o->floats / KIND_FLOATS, 1);
    for (int i = 0; i < o->shape_count; i++) {
        struct muon_shape *s = &o->shapes[i];
        size_t count = (size_t)s->count, n = smaller_side(s);
        s->offsets = (size_t *)arena_take(arena, count, sizeof *s->offsets);
        numbers = larger(numbers, count * (size_t)s->rows * (size_t)s->columns);
        squares = larger(squares, count * n * n);
        parts = larger(parts, count * MATRIX_BLOCKS);
    }
    o->squares = (double *)arena_take(arena, parts, sizeof(double));
    o->x = arena_take(arena, numbers, dtype_bytes(o->dtype));
    o->next = arena_take(arena, numbers, dtype_bytes(o->dtype));
    o->gram = arena_take(arena, squares, dtype_bytes(o->dtype));
    o->poly = arena_take(arena, squares, dtype_bytes(o->dtype));
}

enum status card_optimizer_create(struct card_optimizer *o, const struct device_options *options,
                                  struct error *err) {
    *o = (struct card_optimizer){};
    o->options = *options->optimizer;
    o->config = *options->config;
    o->dtype = options->dtype;
    o->averages = options->average;
    o->floats = model_buffer_floats(options->config);
    each_matrix(o, [](struct muon_shape *shape, size_t) { shape->count++; });
    TRY(card_arena_build(&o->arena, layout, o, err));
    TRY(copy_kinds(o, err));
    return copy_offsets(o, err);
}

void card_optimizer_destroy(struct card_optimizer *o) {
    card_arena_destroy(&o->arena);
    *o = (struct card_optimizer){};
}

/* ---- sums of squares ------------------------------------------------------ */

/* Of all threads of the block, in a fixed order; for thread 0 alone. */
static __device__ double block_sum(double x) {
    __shared__ double sums[THREADS];
    __syncthreads();
    sums[threadIdx.x] = x;
    for (int step = THREADS / 2; step > 0; step /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < step)
            sums[threadIdx.x] += sums[threadIdx.x + step];
    }
    __syncthreads();
    return sums[0];
}

static __global__ void sum_squares(const float *values, size_t count, double *parts) {
    double sum = 0;
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < count;
         i += (size_t)NORM_BLOCKS * THREADS)
        sum += (double)values[i] * (double)values[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        parts[blockIdx.x] = sum;
}

static __global__ void add_squares(const double *parts, double *squares) {
    double sum = block_sum(parts[threadIdx.x] + parts[threadIdx.x + THREADS]);
    if (threadIdx.x == 0)
        *squares = sum;
}

void card_optimizer_squares(struct card_optimizer *o, const float *gradients, double *squares) {
    static_assert(NORM_BLOCKS == 2 * THREADS, "add_squares() takes two parts a thread");
    LAUNCH(sum_squares, NORM_BLOCKS, THREADS, gradients, o->floats, o->squares);
    LAUNCH(add_squares, 1, THREADS, o->squares, squares);
}

/* ---- Adam ----------------------------------------------------------------- */

/* What an update works on. */
struct numbers {
    float *parameters;
    bf16 *rounded; /* NULL: none */
    const float *gradients;
    float *moment1, *moment2;
};

static __device__ void set_parameter(const struct numbers *n, size_t i, float value) {
    n->parameters[i] = value;
    if (n->rounded)
        n->rounded[i] = __float2bfloat16(value);
}

static __global__ void adam(struct numbers n, struct adam_step step, float kept_where_decays,
                            const uint8_t *kinds, size_t count) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count || kinds[i / KIND_FLOATS] == KIND_NONE)
        return;
    if (kinds[i / KIND_FLOATS] == KIND_DECAYS)
        step.kept = kept_where_decays;
    float m = n.moment1[i], v = n.moment2[i];
    set_parameter(&n, i, adam_element(&step, n.parameters[i], n.gradients[i], &m, &v));
    n.moment1[i] = m;
    n.moment2[i] = v;
}

static void start_adam(struct card_optimizer *o, const struct numbers *n,
                       const struct device_update *u) {
    struct adam_step step = adam_step_at(&o->options, u->rates.others, u->gradient_scale, u->steps);
    float kept = 1.0f - u->rates.others * u->rates.weight_decay;
    LAUNCH(adam, blocks_for(o->floats, THREADS), THREADS, *n, step, kept, o->kinds, o->floats);
}

/* ---- Muon ----------------------------------------------------------------- */

/* A block's share of a matrix, blockIdx.y. */
struct matrices {
    const size_t *offsets;
    int size; /* numbers of a matrix */
    float momentum, gradient_scale;
};

/* The new momentum, and the squares of the direction that it gives. */
static __global__ void move_momentum(struct numbers n, struct matrices m, double *parts) {
    double sum = 0;
    for (int i = (int)(blockIdx.x * THREADS + threadIdx.x); i < m.size;
         i += MATRIX_BLOCKS * THREADS) {
        size_t at = m.offsets[blockIdx.y] + (size_t)i;
        float momentum = n.moment1[at];
        float x = muon_direction(m.momentum, n.gradients[at] * m.gradient_scale, &momentum);
        n.moment1[at] = momentum;
        sum += (double)x * (double)x;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        parts[blockIdx.y * MATRIX_BLOCKS + blockIdx.x] = sum;
}

/* The direction, divided by its norm, to x. */
template <typename T>
static __global__ void start_iterate(struct numbers n, struct matrices m, const double *parts,
                                     T *x) {
    double part = threadIdx.x < MATRIX_BLOCKS ? parts[blockIdx.y * MATRIX_BLOCKS + threadIdx.x] : 0;
    float scale = (float)(1.0 / (sqrt(block_sum(part)) + 1e-7));
    for (int i = (int)(blockIdx.x * THREADS + threadIdx.x); i < m.size;
         i += MATRIX_BLOCKS * THREADS) {
        size_t at = m.offsets[blockIdx.y] + (size_t)i;
        float direction = n.gradients[at] * m.gradient_scale + m.momentum * n.moment1[at];
        from_float(&x[blockIdx.y * (size_t)m.size + i], direction * scale);
    }
}

template <typename T>
static __global__ void apply_iterate(struct numbers n, struct matrices m, const T *x, float rate,
                                     float kept) {
    for (int i = (int)(blockIdx.x * THREADS + threadIdx.x); i < m.size;
         i += MATRIX_BLOCKS * THREADS) {
        size_t at = m.offsets[blockIdx.y] + (size_t)i;
        float update = to_float(x[blockIdx.y * (size_t)m.size + i]);
        set_parameter(&n, at, n.parameters[at] * kept - rate * update);
    }
}

/* The three products of X <- aX + (bA + cA^2)X for all matrices of a shape; A is X X^T, or X^T X
 * where X is tall. cuBLAS sees the row-major X transposed. */
static enum status iterate(struct card_optimizer *o, struct products *products,
                           const struct muon_shape *s, struct error *err) {
    const float a = 3.4445f, b = -4.7750f, c = 2.0315f;
    bool tall = s->rows > s->columns;
    int n = (int)smaller_side(s), length = s->rows + s->columns - n;
    struct product gram = {}, poly = {}, next = {};
    gram.in = gram.out = o->dtype;
    gram.batch = s->count;
    poly = next = gram;

    gram.m = gram.n = n, gram.k = length;
    gram.transpose_a = !tall, gram.transpose_b = tall;
    gram.lda = gram.ldb = s->columns, gram.ldd = n;
    gram.a = gram.b = o->x, gram.d = o->gram;
    gram.alpha = 1;
    gram.stride_a = gram.stride_b = (size_t)s->rows * (size_t)s->columns;
    gram.stride_d = (size_t)n * (size_t)n;

    poly.m = poly.n = poly.k = n;
    poly.lda = poly.ldb = poly.ldd = n;
    poly.a = poly.b = poly.c = o->gram, poly.d = o->poly;
    poly.alpha = c, poly.beta = b;
    poly.stride_a = poly.stride_b = poly.stride_d = gram.stride_d;

    next.m = s->columns, next.n = s->rows, next.k = n;
    next.lda = s->columns, next.ldb = n, next.ldd = s->columns;
    next.a = tall ? o->poly : o->x, next.b = tall ? o->x : o->poly;
    next.c = o->x, next.d = o->next;
    next.alpha = 1, next.beta = a;
    next.stride_a = tall ? gram.stride_d : gram.stride_a;
    next.stride_b = tall ? gram.stride_a : gram.stride_d;
    next.stride_d = gram.stride_a;

    TRY(products_run(products, &gram, err));
    TRY(products_run(products, &poly, err));
    TRY(products_run(products, &next, err));
    void *made = o->next;
    o->next = o->x;
    o->x = made;
    return STATUS_OK;
}

template <typename T>
static enum status muon(struct card_optimizer *o, struct products *products,
                        const struct numbers *n, const struct device_update *u,
                        struct error *err) {
    enum { ITERATIONS = 5 };
    for (int i = 0; i < o->shape_count; i++) {
        const struct muon_shape *s = &o->shapes[i];
        dim3 blocks(MATRIX_BLOCKS, (unsigned)s->count);
        struct matrices m = {s->offsets, s->rows * s->columns, o->options.momentum,
                             u->gradient_scale};
        float ratio = s->rows > s->columns ? sqrtf((float)s->rows / (float)s->columns) : 1.0f;
        LAUNCH(move_momentum, blocks, THREADS, *n, m, o->squares);
        LAUNCH(start_iterate<T>, blocks, THREADS, *n, m, o->squares, (T *)o->x);
        for (int iteration = 0; iteration < ITERATIONS; iteration++)
            TRY(iterate(o, products, s, err));
        LAUNCH(apply_iterate<T>, blocks, THREADS, *n, m, (const T *)o->x,
               u->rates.matrices * ratio, 1.0f - u->rates.matrices * u->rates.weight_decay);
    }
    return STATUS_OK;
}

/* ---- the step ------------------------------------------------------------- */

static __global__ void add_to_average(float *average, const float *values, size_t count,
                                      float share) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count) /* a share of 1 is exact, not up to rounding */
        average[i] = share >= 1 ? values[i] : average[i] + share * (values[i] - average[i]);
}

enum status card_optimizer_step(struct card_optimizer *o, struct network *network,
                                const float *gradients, const struct device_update *u,
                                struct error *err) {
    struct numbers n = {network->parameters, network->rounded, gradients, o->moment1, o->moment2};
    part_mark(network->options.timer, DEVICE_UPDATE);
    start_adam(o, &n, u);
    TRY(o->dtype == DTYPE_BF16 ? muon<bf16>(o, network->options.products, &n, u, err)
                               : muon<float>(o, network->options.products, &n, u, err));
    if (o->average && u->average_share > 0)
        LAUNCH(add_to_average, blocks_for(o->floats, THREADS), THREADS, o->average, n.parameters,
               o->floats, u->average_share);
    part_mark(network->options.timer, DEVICE_PARTS);
    return card_launched("update", err);
}
