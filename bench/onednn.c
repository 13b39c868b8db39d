/* bench-onednn: our matrix products beside oneDNN's, on alpaca's shapes, in one run: `make
 * bench-onednn` where oneDNN 2 is installed. Both work on operands that they put into their own
 * order beforehand, again and again, so everything is as warm in the caches as it can be.
 *
 * INT8: bytes times signed bytes. Ours also scale the sums to fp32 and add the bias; oneDNN is
 * asked for the bare 32-bit sums, from unsigned bytes, which suit the instruction, as ours are, and
 * from signed ones. BF16: as in training, from fp32 activations that ours round and pack in the
 * same go; oneDNN's reorder to BF16 is timed with and without. */
#include "bench/bench.h"

#include "base/pool.h"
#include "base/rng.h"
#include "model/blas.h"
#include "model/kernels/int8.h"
#include "model/linear.h"
#include "model/pack_weights.h"

#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void omp_set_num_threads(int threads); /* of the OpenMP that oneDNN runs on */

enum { MOST_ROWS = 2048, D_MODEL = 512, D_FF = 2048, VOCAB = 4000, WIDEST_IN = D_FF };

static const struct shape {
    int in, out;
} shapes[] = {{D_MODEL, 3 * D_MODEL}, {D_MODEL, D_MODEL}, {D_MODEL, D_FF}, {D_FF, D_MODEL},
              {D_MODEL, VOCAB}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static float *x, *weights, *y; /* enough for every shape */
static uint8_t *bytes;

/* ---- oneDNN ------------------------------------------------------------------ */

static void check(dnnl_status_t status, const char *what) {
    if (status == dnnl_success)
        return;
    fprintf(stderr, "bench-onednn: oneDNN cannot %s (%d)\n", what, (int)status);
    exit(1);
}

struct product {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t matmul, round; /* round: the source to BF16; NULL where it is not wanted */
    dnnl_memory_t source, weight, result, unrounded;
    bool rounds;
};

static dnnl_memory_desc_t matrix(int rows, int columns, dnnl_data_type_t type,
                                 dnnl_format_tag_t tag) {
    dnnl_memory_desc_t desc;
    dnnl_dims_t dims = {rows, columns};
    check(dnnl_memory_desc_init_by_tag(&desc, 2, dims, type, tag), "describe a matrix");
    return desc;
}

static dnnl_memory_t memory_of(const struct product *p, const dnnl_memory_desc_t *desc,
                               void *data) {
    dnnl_memory_t memory;
    check(dnnl_memory_create(&memory, desc, p->engine, data), "take memory");
    return memory;
}

static void reorder(const struct product *p, dnnl_memory_t from,
                    const dnnl_memory_desc_t *from_desc, dnnl_memory_t to,
                    const dnnl_memory_desc_t *to_desc, dnnl_primitive_t *keep) {
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    check(dnnl_reorder_primitive_desc_create(&desc, from_desc, p->engine, to_desc, p->engine, NULL),
          "reorder");
    check(dnnl_primitive_create(&primitive, desc), "reorder");
    check(dnnl_primitive_execute(primitive, p->stream, 2, arguments), "reorder");
    dnnl_primitive_desc_destroy(desc);
    if (keep)
        *keep = primitive;
    else
        dnnl_primitive_destroy(primitive);
}

/* result[rows, out] = source[rows, in] weight[out, in]^T, the weights in oneDNN's own order. */
static void product_open(struct product *p, int rows, const struct shape *s,
                         dnnl_data_type_t source_type, dnnl_data_type_t weight_type,
                         dnnl_data_type_t result_type) {
    bool bf16 = source_type == dnnl_bf16;
    dnnl_memory_desc_t source = matrix(rows, s->in, source_type, dnnl_ab);
    dnnl_memory_desc_t unrounded = matrix(rows, s->in, dnnl_f32, dnnl_ab);
    dnnl_memory_desc_t result = matrix(rows, s->out, result_type, dnnl_ab);
    dnnl_memory_desc_t plain = matrix(s->in, s->out, bf16 ? dnnl_f32 : weight_type, dnnl_ba);
    dnnl_memory_desc_t own = matrix(s->in, s->out, weight_type, dnnl_format_tag_any);
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t desc;
    *p = (struct product){0};
    check(dnnl_engine_create(&p->engine, dnnl_cpu, 0), "start");
    check(dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags), "start");
    p->source = memory_of(p, &source, bf16 ? DNNL_MEMORY_ALLOCATE : (void *)bytes);
    p->unrounded = memory_of(p, &unrounded, x);
    p->result = memory_of(p, &result, DNNL_MEMORY_ALLOCATE);
    if (bf16)
        reorder(p, p->unrounded, &unrounded, p->source, &source, &p->round);
    dnnl_memory_t given = memory_of(p, &plain, bf16 ? (void *)weights : (void *)bytes);
    check(dnnl_matmul_desc_init(&matmul, &source, &own, NULL, &result), "describe a product");
    check(dnnl_primitive_desc_create(&desc, &matmul, NULL, p->engine, NULL), "multiply");
    const dnnl_memory_desc_t *chosen =
        dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
    check(dnnl_memory_create(&p->weight, chosen, p->engine, DNNL_MEMORY_ALLOCATE), "take memory");
    reorder(p, given, &plain, p->weight, chosen, NULL);
    check(dnnl_primitive_create(&p->matmul, desc), "multiply");
    check(dnnl_stream_wait(p->stream), "wait");
    dnnl_memory_destroy(given);
    dnnl_primitive_desc_destroy(desc);
}

static void product_close(struct product *p) {
    dnnl_primitive_destroy(p->matmul);
    if (p->round)
        dnnl_primitive_destroy(p->round);
    dnnl_memory_destroy(p->source);
    dnnl_memory_destroy(p->unrounded);
    dnnl_memory_destroy(p->weight);
    dnnl_memory_destroy(p->result);
    dnnl_stream_destroy(p->stream);
    dnnl_engine_destroy(p->engine);
}

static void call_product(void *context) {
    struct product *p = context;
    dnnl_exec_arg_t rounding[] = {{DNNL_ARG_FROM, p->unrounded}, {DNNL_ARG_TO, p->source}};
    dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, p->source},
                                   {DNNL_ARG_WEIGHTS, p->weight},
                                   {DNNL_ARG_DST, p->result}};
    if (p->rounds)
        dnnl_primitive_execute(p->round, p->stream, 2, rounding);
    dnnl_primitive_execute(p->matmul, p->stream, 3, arguments);
    dnnl_stream_wait(p->stream);
}

static double time_product(struct product *p, int threads, bool rounds) {
    p->rounds = rounds;
    omp_set_num_threads(threads);
    call_product(p); /* what it builds on first use */
    double seconds = bench_best_time(call_product, p);
    /* OpenMP's threads go on looking for work for a while. */
    nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
    return seconds;
}

/* ---- ours ---------------------------------------------------------------------- */

struct ours {
    struct pool *pool;
    struct int8_matrix matrix;
    struct model *model; /* whose head has the shape */
    struct quantization *quantizations; /* [rows] */
    size_t rows;
};

static void int8_slice(void *context, int worker, int workers) {
    const struct ours *o = context;
    size_t begin, end;
    pool_slice((o->matrix.out + INT8_PANEL - 1) / INT8_PANEL, 2, worker, workers, &begin, &end);
    int8_kernels_get()->linear(&o->matrix, bytes, o->matrix.in, o->quantizations, o->rows, begin,
                               end, y, o->matrix.out, false, (struct fetch_list){0});
}

static void call_int8(void *context) {
    struct ours *o = context;
    pool_run(o->pool, int8_slice, o);
}

static void bf16_stage(void *product, struct pool *pool, int worker) {
    linear_multiply(pool, worker, product);
}

static void call_bf16(void *context) {
    struct ours *o = context;
    struct linear_product product = {&o->model->head, NULL, x, o->rows, .y = y};
    pool_walk(o->pool, bf16_stage, &product);
}

/* ---- comparisons ----------------------------------------------------------------- */

static double time_ours_int8(const struct shape *s, int rows, struct pool *pool) {
    struct arena measure = {0}, arena;
    struct ours o = {.pool = pool, .rows = (size_t)rows};
    int8_matrix_layout(&o.matrix, s->in, s->out, &measure);
    arena_take(&measure, (size_t)rows, sizeof *o.quantizations);
    if (arena_create(&arena, measure.used, NULL) != STATUS_OK)
        exit(1);
    int8_matrix_layout(&o.matrix, s->in, s->out, &arena);
    o.quantizations = arena_take(&arena, (size_t)rows, sizeof *o.quantizations);
    for (int r = 0; r < rows; r++)
        o.quantizations[r] = (struct quantization){0.01f, 128};
    int8_matrix_pack(&o.matrix, weights, weights);
    double seconds = bench_best_time(call_int8, &o);
    arena_destroy(&arena);
    return seconds;
}

static double time_ours_bf16(const struct shape *s, int rows, struct pool *pool) {
    struct ours o = {.pool = pool, .rows = (size_t)rows};
    struct model_config config = {.d_model = s->in, .vocab = s->out, .heads = 1, .d_ff = 1,
                                  .layers = 1, .positions = 1, .norm_eps = 1e-5f};
    struct packed_weights *packed = NULL;
    struct error err;
    enum status status = model_create(&o.model, &config, &err);
    if (status == STATUS_OK) {
        model_initialize(o.model, 1);
        status = packed_weights_create(&packed, o.model, DTYPE_BF16, false, pool, &err);
    }
    if (status != STATUS_OK) {
        fprintf(stderr, "bench-onednn: %s\n", err.message);
        exit(1);
    }
    double seconds = bench_best_time(call_bf16, &o);
    packed_weights_destroy(packed);
    model_destroy(o.model);
    return seconds;
}

static void compare_int8(struct pool *pool) {
    static const int rows[] = {1, 16, 32, 64, 256};
    int threads = pool_workers(pool);
    printf("\nINT8, %d thread%s: GOP/s of ours, oneDNN u8 and s8, ours of the faster\n", threads,
           threads > 1 ? "s" : "");
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (int i = 0; i < SHAPES; i++) {
            struct product p;
            double ops = 2e-9 * rows[r] * shapes[i].in * shapes[i].out, theirs[2];
            double mine = ops / time_ours_int8(&shapes[i], rows[r], pool);
            for (int k = 0; k < 2; k++) {
                product_open(&p, rows[r], &shapes[i], k ? dnnl_s8 : dnnl_u8, dnnl_s8, dnnl_s32);
                theirs[k] = ops / time_product(&p, threads, false);
                product_close(&p);
            }
            double faster = theirs[0] > theirs[1] ? theirs[0] : theirs[1];
            printf("%5d rows %4dx%-4d %7.0f %7.0f %7.0f %6.0f %%\n", rows[r], shapes[i].in,
                   shapes[i].out, mine, theirs[0], theirs[1], 100 * mine / faster);
            fflush(stdout);
        }
}

static void compare_bf16(struct pool *pool) {
    int threads = pool_workers(pool);
    printf("\nBF16, %d thread%s: GFLOP/s of ours, oneDNN from fp32 and from BF16, ours of each\n",
           threads, threads > 1 ? "s" : "");
    for (int i = 0; i < SHAPES; i++) {
        struct product p;
        double ops = 2e-9 * MOST_ROWS * shapes[i].in * shapes[i].out;
        double mine = ops / time_ours_bf16(&shapes[i], MOST_ROWS, pool);
        product_open(&p, MOST_ROWS, &shapes[i], dnnl_bf16, dnnl_bf16, dnnl_f32);
        double rounding = ops / time_product(&p, threads, true);
        double bare = ops / time_product(&p, threads, false);
        product_close(&p);
        printf("%5d rows %4dx%-4d %7.0f %7.0f %7.0f %6.0f %% %6.0f %%\n", MOST_ROWS, shapes[i].in,
               shapes[i].out, mine, rounding, bare, 100 * mine / rounding, 100 * mine / bare);
        fflush(stdout);
    }
}

int main(int argc, char **argv) {
    (void)argc;
    blas_init(argv);
    x = malloc(sizeof *x * MOST_ROWS * WIDEST_IN);
    weights = malloc(sizeof *weights * VOCAB * WIDEST_IN);
    y = malloc(sizeof *y * MOST_ROWS * VOCAB);
    bytes = malloc((size_t)VOCAB * WIDEST_IN);
    if (!x || !weights || !y || !bytes)
        return 1;
    for (size_t i = 0; i < (size_t)MOST_ROWS * WIDEST_IN; i++)
        x[i] = (float)rng_normal(1, i);
    for (size_t i = 0; i < (size_t)VOCAB * WIDEST_IN; i++) {
        weights[i] = (float)rng_normal(2, i);
        bytes[i] = (uint8_t)(rng_bits(3, i) % 128); /* valid as both kinds of bytes */
    }
    const dnnl_version_t *version = dnnl_version();
    printf("oneDNN %d.%d.%d, our kernels %s\n", version->major, version->minor, version->patch,
           int8_kernels_get()->name);
    for (int threads = 1; threads <= 2; threads++) {
        struct pool *pool;
        if (pool_create(&pool, threads, NULL) != STATUS_OK)
            return 1;
        compare_int8(pool);
        if (bf16_available())
            compare_bf16(pool);
        pool_destroy(pool);
    }
    free(x);
    free(weights);
    free(y);
    free(bytes);
    return 0;
}
