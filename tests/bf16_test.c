/* BF16 products against plain C, at odd sizes and beside pages that nobody may touch. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "tests/support/linear_task.h"
#include "tests/support/tiny_model.h"

#include "base/pool.h"
#include "base/rng.h"
#include "model/activations.h"
#include "model/kernels/bf16.h"
#include "model/pack_weights.h"
#include "train/grad/linear_backward.h"
#include "train/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static const struct bf16_kernels *kernels;

/* `count` words that end where a forbidden page begins. */
struct fenced {
    void *map;
    size_t bytes;
    float *values;
};

static struct fenced fence(size_t count) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = count * sizeof(float);
    struct fenced f = {.bytes = (bytes + page - 1) / page * page + page};
    f.map = mmap(NULL, f.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f.map != MAP_FAILED);
    char *end = (char *)f.map + f.bytes - page;
    assert_int_equal(mprotect(end, page, PROT_NONE), 0);
    f.values = (float *)(void *)(end - bytes);
    return f;
}

static struct fenced random_fence(size_t count, uint64_t key) {
    struct fenced f = fence(count);
    for (size_t i = 0; i < count; i++)
        f.values[i] = (float)rng_normal(key, i);
    return f;
}

static void unfence(struct fenced *f) {
    munmap(f->map, f->bytes);
}

/* The nearest bfloat16, ties to even. */
static float rounded(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

static float half(uint32_t word, int upper) {
    uint32_t bits = upper ? word & 0xffff0000u : word << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static const size_t LINES[] = {1, 2, 11, 12, 13, 15, 16, 17, 31, 32, 33, 50};
static const size_t DEPTHS[] = {1, 2, 3, 15, 16, 31, 32, 33, 64, 65, 130};
static const size_t WIDTHS[] = {BF16_TILE_ROWS, BF16_TILE_COLUMNS};
#define EACH(i, list) for (size_t i = 0; i < sizeof list / sizeof *list; i++)

/* Whether the packed words hold value(line, k) everywhere, and zeros beyond. */
static void check_packed(const uint32_t *words, size_t width, size_t lines, size_t k,
                         const float *x, size_t line_step, size_t k_step, float scale) {
    size_t pairs = (k + 1) / 2;
    for (size_t panel = 0; panel * width < lines; panel++)
        for (size_t at = 0; at < pairs * 2; at++)
            for (size_t i = 0; i < width; i++) {
                size_t line = panel * width + i;
                float expected = line < lines && at < k
                                     ? rounded(x[line * line_step + at * k_step] * scale)
                                     : 0;
                float value = half(words[(panel * pairs + at / 2) * width + i], (int)(at % 2));
                if (value != expected)
                    fail_msg("width %zu, %zu lines of %zu: line %zu at %zu is %g, not %g", width,
                             lines, k, line, at, (double)value, (double)expected);
            }
}

static void packing_rounds_and_arranges(void **state) {
    (void)state;
    if (!kernels)
        skip();
    EACH(l, LINES) EACH(d, DEPTHS) EACH(w, WIDTHS) {
        size_t lines = LINES[l], k = DEPTHS[d], width = WIDTHS[w], pairs = (k + 1) / 2;
        size_t count = bf16_packed_words(lines, width, k);
        struct fenced x = random_fence(lines * k, l * 100 + d), packed = fence(count);
        uint32_t *words = (uint32_t *)(void *)packed.values;
        memset(words, 0xee, count * sizeof *words);
        kernels->pack_rows(words, width, x.values, k, lines, k, 1.5f);
        check_packed(words, width, lines, k, x.values, k, 1, 1.5f);

        float *sums = calloc(lines, sizeof *sums);
        assert_non_null(sums);
        memset(words, 0xee, count * sizeof *words);
        kernels->pack_columns(words, width, pairs, x.values, lines, k, lines, sums);
        check_packed(words, width, lines, k, x.values, 1, lines, 1);
        for (size_t i = 0; i < lines; i++) {
            float sum = 0;
            for (size_t row = 0; row < k; row++)
                sum += x.values[row * lines + i];
            assert_true(sums[i] == sum);
        }
        free(sums);
        unfence(&x);
        unfence(&packed);
    }
}

static void special_values_survive_packing(void **state) {
    (void)state;
    if (!kernels)
        skip();
    float x[] = {INFINITY, -INFINITY, NAN, -0.0f, 1.0f + 1.0f / 256, 1.0f + 3.0f / 256, 3e38f, 0};
    uint32_t words[4 * BF16_TILE_ROWS];
    kernels->pack_rows(words, BF16_TILE_ROWS, x, 8, 1, 8, 1);
    assert_true(isinf(half(words[0], 0)) && half(words[0], 1) == -INFINITY);
    assert_true(isnan(half(words[BF16_TILE_ROWS], 0)));
    assert_true(half(words[2 * BF16_TILE_ROWS], 0) == 1.0f);             /* ties to even */
    assert_true(half(words[2 * BF16_TILE_ROWS], 1) == 1.0f + 4.0f / 256); /* both ways */
}

/* c = a b^T (+ c) (+ bias) (relu) with rounded operands, in double. */
static double reference(const float *a, const float *b, size_t k, double c) {
    for (size_t i = 0; i < k; i++)
        c += (double)rounded(a[i]) * (double)rounded(b[i]);
    return c;
}

static void check_product(size_t m, size_t n, size_t k, struct bf16_finish finish) {
    size_t stride = n + 3;
    struct fenced a = random_fence(m * k, m + k), b = random_fence(n * k, n + k);
    struct fenced c = random_fence((m - 1) * stride + n, 5), bias = random_fence(n, 6);
    struct fenced pa = fence(bf16_packed_words(bf16_block_rows(k), BF16_TILE_ROWS, k));
    struct fenced pb = fence(bf16_packed_words(n, BF16_TILE_COLUMNS, k));
    size_t count = (m - 1) * stride + n;
    float *before = malloc(count * sizeof *before);
    assert_non_null(before);
    memcpy(before, c.values, count * sizeof *before);
    uint32_t *room = (uint32_t *)(void *)pa.values, *packed = (uint32_t *)(void *)pb.values;
    finish.bias = finish.bias ? bias.values : NULL;
    kernels->pack_rows(packed, BF16_TILE_COLUMNS, b.values, k, n, k, 1);
    bf16_multiply_rows(c.values, stride, n, a.values, k, 0, m, packed, room, &finish);
    for (size_t i = 0; i < count; i++) {
        size_t row = i / stride, column = i % stride;
        if (column >= n) { /* between the rows */
            assert_true(c.values[i] == before[i]);
            continue;
        }
        double start = (finish.add ? (double)before[i] : 0) +
                       (finish.bias ? (double)bias.values[column] : 0);
        double expected = reference(a.values + row * k, b.values + column * k, k, start);
        if (finish.relu && expected < 0)
            expected = 0;
        if (!(fabs((double)c.values[i] - expected) <= 4e-6 * (double)(k + 4)))
            fail_msg("%zu x %zu x %zu: c[%zu][%zu] is %g, not %g", m, n, k, row, column,
                     (double)c.values[i], expected);
    }
    free(before);
    unfence(&a);
    unfence(&b);
    unfence(&c);
    unfence(&bias);
    unfence(&pa);
    unfence(&pb);
}

static void products_are_right(void **state) {
    (void)state;
    if (!kernels)
        skip();
    const float yes = 1;
    EACH(m, LINES) EACH(n, LINES) check_product(LINES[m], LINES[n], 37, (struct bf16_finish){0});
    EACH(d, DEPTHS) check_product(25, 40, DEPTHS[d], (struct bf16_finish){.add = true});
    /* More than one block of k, and of rows. */
    check_product(14, 33, 1100, (struct bf16_finish){.bias = &yes, .relu = true});
    check_product(14, 33, 1100, (struct bf16_finish){true, &yes, true});
    check_product(bf16_block_rows(600) + 5, 17, 600, (struct bf16_finish){.bias = &yes});
    check_product(13, 40, 20, (struct bf16_finish){true, &yes, true});
}

static void a_nan_is_not_lost(void **state) {
    (void)state;
    if (!kernels)
        skip();
    float a = NAN, b = 1, c = 0;
    uint32_t pa[BF16_TILE_ROWS], pb[BF16_TILE_COLUMNS];
    struct bf16_finish finish = {.relu = true};
    kernels->pack_rows(pb, BF16_TILE_COLUMNS, &b, 1, 1, 1, 1);
    bf16_multiply_rows(&c, 1, 1, &a, 1, 0, 1, pb, pa, &finish);
    assert_true(isnan(c));
}

/* ---- a model's layers ----------------------------------------------------- */

static void packing_needs_the_cpu_and_gives_the_model_back(void **state) {
    (void)state;
    struct model_config config = tiny_config();
    struct model *model = tiny_model(&config, 1);
    struct pool *pool;
    struct packed_weights *packed;
    struct error err = {0};
    assert_int_equal(pool_create(&pool, 2, NULL), STATUS_OK);
    struct linear *linears[MODEL_MAX_LINEARS];
    assert_int_equal(model_linears(model, linears), 4 * config.layers + 1);
    assert_int_equal(packed_weights_create(&packed, model, DTYPE_F32, true, pool, &err), STATUS_OK);
    assert_null(packed); /* fp32 is not packed */
    enum status status = packed_weights_create(&packed, model, DTYPE_BF16, true, pool, &err);
    assert_int_equal(status, kernels ? STATUS_OK : STATUS_UNSUPPORTED);
    assert_int_equal(model->head.dtype, kernels ? DTYPE_BF16 : DTYPE_F32);
    assert_int_equal(model->attention_dtype, kernels ? DTYPE_BF16 : DTYPE_F32);
    packed_weights_destroy(packed);
    assert_int_equal(model->head.dtype, DTYPE_F32);
    assert_int_equal(model->attention_dtype, DTYPE_F32);
    assert_int_equal(model->linears[1].linear2.dtype, DTYPE_F32);
    model_destroy(model);
    pool_destroy(pool);
}

static float *random_floats(size_t count, uint64_t key) {
    float *x = malloc(count * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)rng_normal(key, i);
    return x;
}

/* Forward and backward of one layer in BF16, or with all but the weights' gradient in INT8, against
 * fp32, with more rows than one chunk, and the same bits for any number of workers. */
static void check_layer(bool int8, double tolerance) {
    if (!kernels)
        skip();
    struct model_config config = tiny_config();
    struct model *model = tiny_model(&config, 1);
    struct linear *layer = &model->linears[0].linear2;
    struct activations activations; /* for its linear scratch */
    assert_int_equal(activations_create(&activations, &config, 1, false, 1, NULL), STATUS_OK);
    size_t rows = TRAINING_CHUNK_ROWS + 77, in = (size_t)layer->in, out = (size_t)layer->out;
    float *x = random_floats(rows * in, 1), *dy = random_floats(rows * out, 2);
    float *y[4], *dx[4], *dw[4], *db[4];
    for (int run = 0; run < 4; run++) {
        struct pool *pool;
        struct packed_weights *packed = NULL;
        enum dtype dtype = !run ? DTYPE_F32 : int8 ? DTYPE_INT8 : DTYPE_BF16;
        y[run] = random_floats(rows * out, 3);
        dx[run] = random_floats(rows * in, 4);
        dw[run] = random_floats(in * out, 5);
        db[run] = random_floats(out, 6);
        assert_int_equal(pool_create(&pool, run ? run : 2, NULL), STATUS_OK);
        assert_int_equal(packed_weights_create(&packed, model, dtype, true, pool, NULL), STATUS_OK);
        assert_int_equal(layer->dtype, dtype);
        linear_task(pool, (struct linear_product){layer, &activations.linear, x, rows, y[run],
                                                  .relu = true});
        linear_backward(pool, (struct linear_gradient){layer, x, dy, rows, dw[run], db[run],
                                                       dx[run], true});
        packed_weights_destroy(packed);
        assert_int_equal(layer->dtype, DTYPE_F32);
        pool_destroy(pool);
    }
    assert_true(relative_difference(y[1], y[0], rows * out) < tolerance);
    assert_true(relative_difference(dx[1], dx[0], rows * in) < tolerance);
    assert_true(relative_difference(dw[1], dw[0], in * out) < 5e-3);
    assert_true(relative_difference(db[1], db[0], out) < 1e-5);
    for (int run = 2; run < 4; run++) {
        assert_memory_equal(y[run], y[1], rows * out * sizeof(float));
        assert_memory_equal(dx[run], dx[1], rows * in * sizeof(float));
        assert_memory_equal(dw[run], dw[1], in * out * sizeof(float));
        assert_memory_equal(db[run], db[1], out * sizeof(float));
    }
    for (int run = 0; run < 4; run++) {
        free(y[run]);
        free(dx[run]);
        free(dw[run]);
        free(db[run]);
    }
    free(x);
    free(dy);
    activations_destroy(&activations);
    model_destroy(model);
}

static void layers_agree_with_fp32_for_any_workers(void **state) {
    (void)state;
    check_layer(false, 5e-3);
}

static void int8_layers_agree_with_fp32_for_any_workers(void **state) {
    (void)state;
    check_layer(true, 2e-2);
}

/* Stories of more than one block of attention, with a head size that no vector divides: every
 * tensor's gradient in BF16 is close to its fp32 one, dropout included. */
static void long_stories_agree_with_fp32(void **state) {
    (void)state;
    if (!kernels)
        skip();
    enum { ROWS = 230 + 97 + 1, VOCAB = 50 };
    struct model_config config = {.d_model = 54, .heads = 2, .d_ff = 70, .layers = 1,
                                  .vocab = VOCAB, .positions = 256, .norm_eps = 1e-5f};
    int32_t ids[ROWS], targets[ROWS], lengths[3] = {230, 97, 1};
    for (uint64_t i = 0; i < ROWS; i++) {
        ids[i] = (int32_t)(rng_bits(1, i) % VOCAB);
        targets[i] = (int32_t)(rng_bits(2, i) % VOCAB);
    }
    struct story_batch batch = {.stories = 3, .rows = ROWS, .lengths = lengths, .inputs = ids,
                                .targets = targets};
    struct pool *pool;
    struct model *models[2];
    struct trainer trainers[2];
    struct step_result results[2];
    struct step_options step = {.dropout = 0.2f, .dropout_key = 9};
    assert_int_equal(pool_create(&pool, 2, NULL), STATUS_OK);
    for (int i = 0; i < 2; i++) {
        struct trainer_options options = {.optimizer = {.beta1 = 0.9f, .beta2 = 0.9f, .eps = 1},
                                          .dtype = i ? DTYPE_BF16 : DTYPE_F32,
                                          .micro_rows = ROWS};
        models[i] = tiny_model(&config, 1);
        assert_int_equal(trainer_create(&trainers[i], models[i], pool, &options, NULL), STATUS_OK);
        assert_int_equal(trainer_step(&trainers[i], &batch, &step, &results[i], NULL), STATUS_OK);
    }
    assert_true(fabs(results[0].loss - results[1].loss) < 2e-3 * results[0].loss);
    for (int i = 0; i < model_tensor_count(&config); i++) {
        struct tensor_info info;
        model_tensor(&config, i, &info);
        double difference = relative_difference(trainers[1].gradients + info.offset,
                                                trainers[0].gradients + info.offset, info.count);
        if (!(difference < 5e-2)) /* ReLU lets a few rounded values fall on its other side */
            fail_msg("%s: %g", info.name, difference);
    }
    for (int i = 0; i < 2; i++) {
        trainer_destroy(&trainers[i]);
        model_destroy(models[i]);
    }
    pool_destroy(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packing_rounds_and_arranges),
        cmocka_unit_test(special_values_survive_packing),
        cmocka_unit_test(products_are_right),
        cmocka_unit_test(a_nan_is_not_lost),
        cmocka_unit_test(packing_needs_the_cpu_and_gives_the_model_back),
        cmocka_unit_test(layers_agree_with_fp32_for_any_workers),
        cmocka_unit_test(int8_layers_agree_with_fp32_for_any_workers),
        cmocka_unit_test(long_stories_agree_with_fp32),
    };
    kernels = bf16_kernels_get();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
