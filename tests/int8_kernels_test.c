/* The integer kernels of every instruction set against the portable reference: the same bits,
 * at odd sizes and extreme values, on buffers that end at a protected page; the reference
 * against plain arithmetic; and what is built from them against fp32. */
#include "base/pool.h"
#include "base/rng.h"
#include "model/attention_int8.h"
#include "model/kernels/int8.h"
#include "model/kernels/kernels.h"
#include "model/pack_weights.h"
#include "tests/support/fence.h"
#include "tests/support/linear_task.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SETS = 4 };

struct set {
    const struct kernels *rows;
    const struct int8_kernels *integers;
};

/* The sets that this CPU can run; the reference first. */
static int usable_sets(struct set sets[SETS]) {
    static const char *const names[SETS] = {"portable", "avx2", "avx512", "amx"};
    int count = 0;
    for (int i = 0; i < SETS; i++)
        if (kernels_select(names[i], NULL) == STATUS_OK)
            sets[count++] = (struct set){kernels_get(), int8_kernels_get()};
    assert_int_equal(kernels_select(NULL, NULL), STATUS_OK);
    assert_ptr_equal(sets[0].integers, &int8_portable);
    return count;
}

/* Any bytes, the outermost ones only, or the same of those everywhere: then sums are largest. */
enum spread { ANY, OUTERMOST, SAME, SPREADS };

static void fill_bytes(void *bytes, size_t count, uint64_t key, enum spread spread,
                       bool is_signed) {
    uint8_t *b = bytes;
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = rng_bits(key, spread == SAME ? 0 : i);
        if (is_signed)
            b[i] = (uint8_t)(int8_t)(spread == ANY ? (int)(bits % 255) - 127
                                     : (bits & 1)  ? 127
                                                   : -127);
        else
            b[i] = (uint8_t)(spread == ANY ? bits & 255 : (bits & 3) ? 255 : 0);
    }
}

static void fill_floats(float *x, size_t count, uint64_t key, double scale) {
    for (size_t i = 0; i < count; i++)
        x[i] = (float)(scale * rng_normal(key, i));
}

/* ---- linear ----------------------------------------------------------------- */

struct product {
    struct int8_matrix matrix;
    size_t rows, panels, stride;
    struct fence bytes, scales, sums, bias, x, quantizations, y;
};

static struct product product_create(size_t in, size_t out, size_t rows, uint64_t key,
                                     enum spread spread) {
    struct product p = {.rows = rows, .panels = (out + 15) / 16};
    p.matrix = (struct int8_matrix){.in = in, .out = out, .groups = (in + 3) / 4};
    size_t weights = p.panels * p.matrix.groups * INT8_GROUP_BYTES, padded = p.panels * 16;
    p.stride = p.matrix.groups * 4;
    p.bytes = fence_create(weights);
    p.scales = fence_create(padded * sizeof(float));
    p.sums = fence_create(padded * sizeof(int32_t));
    p.bias = fence_create(padded * sizeof(float));
    p.x = fence_create(rows * p.stride);
    p.quantizations = fence_create(rows * sizeof(struct quantization));
    p.y = fence_create(rows * out * sizeof(float));
    p.matrix.bytes = p.bytes.data;
    p.matrix.scales = p.scales.data;
    p.matrix.sums = p.sums.data;
    p.matrix.bias = p.bias.data;
    fill_bytes(p.bytes.data, weights, key, spread, true);
    fill_bytes(p.x.data, rows * p.stride, key + 1, spread, false);
    fill_floats(p.scales.data, padded, key + 2, 0.01);
    fill_floats(p.bias.data, padded, key + 3, 1);
    struct quantization *quantizations = p.quantizations.data;
    for (size_t r = 0; r < rows; r++)
        quantizations[r] = (struct quantization){(float)(0.001 + rng_uniform(key + 4, r)),
                                                 (int32_t)(rng_bits(key + 5, r) & 255)};
    for (size_t o = 0; o < padded; o++) /* weights beyond `in` count too: x is not 0 there */
        for (size_t i = 0; i < p.matrix.groups * 4; i++)
            p.matrix.sums[o] += p.matrix.bytes[(o / 16 * p.matrix.groups + i / 4) * 64 +
                                               o % 16 * 4 + i % 4];
    return p;
}

static void product_destroy(struct product *p) {
    struct fence *fences[] = {&p->bytes, &p->scales,        &p->sums, &p->bias,
                              &p->x,     &p->quantizations, &p->y};
    for (size_t i = 0; i < sizeof fences / sizeof *fences; i++)
        fence_destroy(fences[i]);
}

/* With a list of memory to fetch, whose runs end in the middle of tiles and may be empty, or lie
 * where nothing can be read. */
static void product_run(struct product *p, const struct int8_kernels *k, size_t begin, size_t end,
                        bool relu) {
    const uintptr_t bytes = (uintptr_t)p->bytes.data;
    const struct fetch_run runs[] = {{bytes, 3}, {bytes, 0}, {64, 7}, {bytes, 1}};
    memset(p->y.data, 0x5a, p->rows * p->matrix.out * sizeof(float));
    k->linear(&p->matrix, p->x.data, p->stride, p->quantizations.data, p->rows, begin, end,
              p->y.data, p->matrix.out, relu,
              (struct fetch_list){runs, (begin + end) % (sizeof runs / sizeof *runs + 1)});
}

static const struct {
    size_t in, out, rows;
} products[] = {{1, 1, 1},    {3, 15, 2},   {4, 16, 3},    {5, 17, 4},   {54, 33, 5},
                {64, 31, 6},  {216, 64, 7}, {216, 648, 8}, {63, 48, 9},  {130, 80, 11},
                {512, 96, 12}, {512, 100, 13}, {7, 161, 16}, {33, 47, 25}, {2048, 40, 31},
                {65, 129, 37}, {512, 512, 64}, {20, 4000, 3}, {68, 70, 300},
                {36, 20, 6}, {216, 65, 49}, {18, 100, 1}, {66, 80, 2}, {2050, 17, 10},
                {514, 33, 70}, {8200, 18, 7}, {32768, 20, 2}, {32770, 17, 3}};
enum { PRODUCTS = sizeof products / sizeof *products };

static void every_set_multiplies_alike(void **state) {
    (void)state;
    struct set sets[SETS];
    int count = usable_sets(sets);
    for (size_t i = 0; i < SPREADS * PRODUCTS; i++) {
        size_t which = i / SPREADS;
        struct product p = product_create(products[which].in, products[which].out,
                                          products[which].rows, 10 * i, i % SPREADS);
        size_t bytes = p.rows * p.matrix.out * sizeof(float);
        float *expected = malloc(bytes);
        assert_non_null(expected);
        for (int relu = 0; relu < 2; relu++) {
            product_run(&p, sets[0].integers, 0, p.panels, relu);
            memcpy(expected, p.y.data, bytes);
            for (int s = 1; s < count; s++) {
                product_run(&p, sets[s].integers, 0, p.panels, relu);
                assert_memory_equal(p.y.data, expected, bytes);
            }
        }
        free(expected);
        product_destroy(&p);
    }
}

static void the_reference_multiplies_as_plain_arithmetic(void **state) {
    (void)state;
    for (size_t i = 0; i < PRODUCTS; i++) {
        struct product p =
            product_create(products[i].in, products[i].out, products[i].rows, 1000 + 10 * i, ANY);
        product_run(&p, &int8_portable, 0, p.panels, false);
        const uint8_t *x = p.x.data;
        const struct quantization *quantizations = p.quantizations.data;
        const float *y = p.y.data;
        for (size_t r = 0; r < p.rows; r++)
            for (size_t o = 0; o < p.matrix.out; o++) {
                double sum = 0, size = fabs((double)p.matrix.bias[o]);
                for (size_t j = 0; j < p.stride; j++) {
                    int8_t w = p.matrix.bytes[(o / 16 * p.matrix.groups + j / 4) * 64 +
                                              o % 16 * 4 + j % 4];
                    sum += (x[r * p.stride + j] - quantizations[r].zero_point) * w;
                }
                sum *= (double)quantizations[r].scale * (double)p.matrix.scales[o];
                size += fabs(sum);
                double error = fabs((double)y[r * p.matrix.out + o] - sum -
                                    (double)p.matrix.bias[o]);
                assert_true(error <= 1e-6 * size);
            }
        product_destroy(&p);
    }
}

static void panels_are_independent(void **state) {
    (void)state;
    struct set sets[SETS];
    int count = usable_sets(sets);
    struct product p = product_create(100, 150, 10, 77, ANY);
    size_t floats = p.rows * p.matrix.out;
    float *whole = malloc(floats * sizeof *whole);
    assert_non_null(whole);
    for (int s = 0; s < count; s++) {
        product_run(&p, sets[s].integers, 0, p.panels, true);
        memcpy(whole, p.y.data, floats * sizeof *whole);
        for (size_t begin = 0; begin < p.panels; begin++)
            for (size_t end = begin; end <= p.panels; end++) {
                product_run(&p, sets[s].integers, begin, end, true);
                const uint32_t *part = p.y.data;
                for (size_t i = 0; i < floats; i++) {
                    size_t o = i % p.matrix.out;
                    if (o >= begin * 16 && o < end * 16)
                        assert_memory_equal(&part[i], &whole[i], sizeof *part);
                    else
                        assert_int_equal(part[i], 0x5a5a5a5a); /* untouched */
                }
            }
    }
    free(whole);
    product_destroy(&p);
}

/* ---- attention's sums ----------------------------------------------------------- */

static void every_set_scores_alike(void **state) {
    (void)state;
    struct set sets[SETS];
    int count = usable_sets(sets);
    for (size_t groups = 1; groups <= 20; groups++)
        for (size_t blocks = 1; blocks <= 9; blocks++) {
            uint64_t key = groups * 100 + blocks;
            struct fence keys = fence_create(blocks * groups * INT8_GROUP_BYTES);
            struct fence q = fence_create(groups * 4), dots = fence_create(blocks * 16 * 4);
            fill_bytes(keys.data, blocks * groups * INT8_GROUP_BYTES, key, blocks % SPREADS, false);
            fill_bytes(q.data, groups * 4, key + 1, groups % SPREADS, true);
            for (int s = 0; s < count; s++) {
                memset(dots.data, 0x5a, blocks * 16 * 4);
                sets[s].integers->scores(dots.data, q.data, keys.data, blocks, groups,
                                         keys.data);
                const int32_t *got = dots.data;
                for (size_t j = 0; j < blocks * 16; j++) {
                    int32_t sum = 0;
                    for (size_t i = 0; i < groups * 4; i++)
                        sum += ((const int8_t *)q.data)[i] *
                               (((const uint8_t *)keys.data)[(j / 16 * groups + i / 4) * 64 +
                                                             j % 16 * 4 + i % 4] -
                                128);
                    assert_int_equal(got[j], sum);
                }
            }
            fence_destroy(&keys);
            fence_destroy(&q);
            fence_destroy(&dots);
        }
}

static void every_set_mixes_alike(void **state) {
    (void)state;
    struct set sets[SETS];
    int count = usable_sets(sets);
    for (size_t lanes = 16; lanes <= 160; lanes += 16)
        for (size_t quads = 1; quads <= 64; quads = quads * 3 - 1 + (quads == 1)) {
            uint64_t key = lanes * 1000 + quads;
            struct fence values = fence_create(quads * lanes * 4);
            struct fence weights[2] = {fence_create(quads * 4), fence_create(quads * 4)};
            struct fence sums[2] = {fence_create(lanes * 4), fence_create(lanes * 4)};
            fill_bytes(values.data, quads * lanes * 4, key, lanes / 16 % SPREADS, true);
            for (uint64_t d = 0; d < 2; d++)
                fill_bytes(weights[d].data, quads * 4, key + 1 + d, lanes / 16 % SPREADS, false);
            for (int s = 0; s < count; s++) {
                sets[s].integers->mix(sums[0].data, sums[1].data, weights[0].data,
                                      weights[1].data, values.data, quads, lanes, values.data);
                for (int d = 0; d < 2; d++)
                    for (size_t i = 0; i < lanes; i++) {
                        int32_t sum = 0;
                        for (size_t j = 0; j < quads * 4; j++)
                            sum += ((const uint8_t *)weights[d].data)[j] *
                                   ((const int8_t *)values.data)[(j / 4 * lanes + i) * 4 + j % 4];
                        assert_int_equal(((const int32_t *)sums[d].data)[i], sum);
                    }
            }
            fence_destroy(&values);
            for (int d = 0; d < 2; d++) {
                fence_destroy(&weights[d]);
                fence_destroy(&sums[d]);
            }
        }
}

/* ---- quantizing rows ----------------------------------------------------------------------- */

static const size_t sizes[] = {1, 2, 7, 15, 16, 17, 31, 54, 64, 216, 255, 2048};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void quantized_rows_stay_close(void **state) {
    (void)state;
    struct set sets[SETS];
    int count = usable_sets(sets);
    for (size_t i = 0; i < 3 * SIZES; i++) {
        size_t n = sizes[i / 3], padded = (n + 15) / 16 * 16;
        struct fence x = fence_create(n * sizeof(float));
        struct fence bytes = fence_create(padded), expected = fence_create(padded);
        float *values = x.data;
        fill_floats(values, n, i, 3);
        for (size_t j = 0; j < n; j++) /* mixed, as after a ReLU, and all negative */
            values[j] = i % 3 == 1   ? fmaxf(0, values[j])
                        : i % 3 == 2 ? -fabsf(values[j])
                                     : values[j];
        struct quantization quantization, other;
        sets[0].rows->quantize_row(expected.data, padded, &quantization, values, n);
        const uint8_t *b = expected.data;
        assert_in_range(quantization.zero_point, 0, 255);
        for (size_t j = 0; j < padded; j++) {
            double back = (b[j] - quantization.zero_point) * (double)quantization.scale;
            double error = fabs(back - (j < n ? (double)values[j] : 0.0));
            assert_true(error <= 1.0001 * (double)quantization.scale); /* both ends are rounded */
        }
        for (int s = 1; s < count; s++) {
            sets[s].rows->quantize_row(bytes.data, padded, &other, values, n);
            assert_memory_equal(bytes.data, expected.data, padded);
            assert_memory_equal(&other, &quantization, sizeof quantization);
        }
        float scale = sets[0].rows->quantize_signed(expected.data, padded, values, n);
        const int8_t *signed_bytes = expected.data;
        for (size_t j = 0; j < padded; j++) {
            double back = signed_bytes[j] * (double)scale;
            assert_true(signed_bytes[j] >= -127);
            assert_true(fabs(back - (j < n ? (double)values[j] : 0.0)) <= 0.50001 * (double)scale);
        }
        for (int s = 1; s < count; s++) {
            float again = sets[s].rows->quantize_signed(bytes.data, padded, values, n);
            assert_memory_equal(&again, &scale, sizeof scale);
            assert_memory_equal(bytes.data, expected.data, padded);
        }
        fence_destroy(&x);
        fence_destroy(&bytes);
        fence_destroy(&expected);
    }
}

static void a_row_of_zeros_or_of_infinities_breaks_nothing(void **state) {
    (void)state;
    struct set sets[SETS];
    int count = usable_sets(sets);
    for (int s = 0; s < count; s++) {
        float zeros[20] = {0}, broken[20] = {INFINITY, -INFINITY, NAN, 1};
        uint8_t bytes[32];
        int8_t signed_bytes[32];
        struct quantization quantization;
        sets[s].rows->quantize_row(bytes, 32, &quantization, zeros, 20);
        assert_int_equal(quantization.zero_point, 0);
        for (int i = 0; i < 32; i++)
            assert_int_equal(bytes[i], 0);
        assert_true(sets[s].rows->quantize_signed(signed_bytes, 32, zeros, 20) >= 0);
        for (int i = 0; i < 32; i++)
            assert_int_equal(signed_bytes[i], 0);
        sets[s].rows->quantize_row(bytes, 32, &quantization, broken, 20);
        assert_in_range(quantization.zero_point, 0, 255);
        sets[s].rows->quantize_signed(signed_bytes, 32, broken, 20);
    }
}

static void shares_are_a_softmax(void **state) {
    (void)state;
    struct set sets[SETS];
    int count = usable_sets(sets);
    for (size_t n = 1; n <= 70; n++) {
        size_t padded = (n + 15) / 16 * 16;
        struct fence dots = fence_create(padded * 4), keys = fence_create(padded * 4);
        struct fence values = fence_create(padded * 4), scratch = fence_create(padded * 4);
        struct fence high = fence_create(padded), low = fence_create(padded);
        uint8_t expected[2][96];
        float factor = 0;
        for (size_t j = 0; j < padded; j++) {
            ((int32_t *)dots.data)[j] = (int32_t)(rng_bits(n, j) % 40001) - 20000;
            ((float *)keys.data)[j] = (float)(0.01 + 0.1 * rng_uniform(n + 100, j));
            /* Beyond the count lies what another story left, even infinities. */
            ((float *)values.data)[j] = j < n ? (float)(0.01 + rng_uniform(n + 200, j)) : INFINITY;
        }
        double e[70], sum = 0, max = -INFINITY;
        for (size_t j = 0; j < n; j++) {
            e[j] = 0.002 * ((int32_t *)dots.data)[j] * (double)((float *)keys.data)[j];
            max = fmax(max, e[j]);
        }
        for (size_t j = 0; j < n; j++)
            sum += e[j] = exp(e[j] - max);
        for (int s = 0; s < count; s++) {
            float f = sets[s].rows->attention_probabilities(
                high.data, low.data, dots.data, keys.data, values.data, n, padded, 0.002f,
                scratch.data);
            if (s == 0) {
                memcpy(expected[0], high.data, padded);
                memcpy(expected[1], low.data, padded);
                factor = f;
            }
            assert_memory_equal(high.data, expected[0], padded);
            assert_memory_equal(low.data, expected[1], padded);
            assert_memory_equal(&f, &factor, sizeof f);
        }
        for (size_t j = 0; j < padded; j++) {
            double share = (double)factor * (256 * expected[0][j] + expected[1][j]);
            double exact = j < n ? e[j] / sum * (double)((float *)values.data)[j] : 0;
            assert_true(fabs(share - exact) <= 1e-5 * exact + 0.51 * (double)factor);
        }
        struct fence *all[] = {&dots, &keys, &values, &scratch, &high, &low};
        for (int i = 0; i < 6; i++)
            fence_destroy(all[i]);
    }
}

static void digits_are_joined_alike(void **state) {
    (void)state;
    struct set sets[SETS];
    int count = usable_sets(sets);
    for (size_t i = 0; i < SIZES; i++) {
        size_t n = sizes[i];
        struct fence high = fence_create(n * 4), low = fence_create(n * 4);
        struct fence out = fence_create(n * 4);
        for (size_t j = 0; j < n; j++) {
            ((int32_t *)high.data)[j] = (int32_t)(rng_bits(i, j) % 8000001) - 4000000;
            ((int32_t *)low.data)[j] = (int32_t)(rng_bits(i + 50, j) % 8000001) - 4000000;
        }
        for (int s = 0; s < count; s++) {
            sets[s].rows->combine_high_low(out.data, high.data, low.data, n, 0.37f);
            for (size_t j = 0; j < n; j++) {
                float exact = ((float)((int32_t *)high.data)[j] * 256.0f +
                               (float)((int32_t *)low.data)[j]) *
                              0.37f;
                assert_memory_equal((float *)out.data + j, &exact, sizeof exact);
            }
        }
        fence_destroy(&high);
        fence_destroy(&low);
        fence_destroy(&out);
    }
}

/* ---- what is built from them -------------------------------------------------------- */

static double relative_error(const float *a, const float *b, size_t count) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(difference / size);
}

static void a_linear_layer_is_close_to_fp32(void **state) {
    (void)state;
    enum { IN = 218, OUT = 70, ROWS = 300 }; /* more rows than one block of scratch */
    float *weight = malloc(IN * OUT * sizeof(float)), *x = malloc(ROWS * IN * sizeof(float));
    float *y = malloc(ROWS * OUT * sizeof(float)), *rounded = malloc(ROWS * OUT * sizeof(float));
    float bias[OUT];
    assert_true(weight && x && y && rounded);
    fill_floats(weight, IN * OUT, 1, 0.05);
    fill_floats(x, ROWS * IN, 2, 1);
    fill_floats(bias, OUT, 3, 0.1);
    struct pool *pool;
    struct packed_matrix packed = {0};
    struct linear_scratch scratch;
    struct arena measure = {0}, arena;
    assert_int_equal(pool_create(&pool, 2, NULL), STATUS_OK);
    int8_matrix_layout(&packed.int8, IN, OUT, &measure);
    linear_scratch_layout(&scratch, IN, 2, &measure);
    assert_int_equal(arena_create(&arena, measure.used, NULL), STATUS_OK);
    int8_matrix_layout(&packed.int8, IN, OUT, &arena);
    linear_scratch_layout(&scratch, IN, 2, &arena);
    int8_matrix_pack(&packed.int8, weight, bias);
    struct linear wide = {.dtype = DTYPE_F32, .in = IN, .out = OUT, .weight = weight, .bias = bias};
    struct linear small = {.dtype = DTYPE_INT8, .in = IN, .out = OUT, .packed = &packed};
    for (int relu = 0; relu < 2; relu++) {
        linear_task(pool, (struct linear_product){&wide, NULL, x, ROWS, y, .relu = relu});
        linear_task(pool, (struct linear_product){&small, &scratch, x, ROWS, rounded,
                                                  .relu = relu});
        double error = relative_error(rounded, y, ROWS * OUT);
        assert_true(error < 0.012);
        assert_true(error > 0.0001); /* it did run in INT8 */
    }
    arena_destroy(&arena);
    pool_destroy(pool);
    free(weight);
    free(x);
    free(y);
    free(rounded);
}

static void attention_is_close_to_fp32(void **state) {
    (void)state;
    const struct model_config config = {.d_model = 108, .heads = 2, .d_ff = 8, .layers = 2,
                                        .vocab = 8, .positions = 75, .norm_eps = 1e-5f};
    enum { HEAD = 54, ROWS = 75 };
    struct kv_cache cache;
    assert_int_equal(kv_cache_create(&cache, &config, 3, DTYPE_INT8, NULL), STATUS_OK);
    float *qkv = malloc(ROWS * 3 * HEAD * sizeof(float));
    float *out = malloc(ROWS * HEAD * sizeof(float));
    float *expected = malloc(ROWS * HEAD * sizeof(float));
    float *pieces = malloc(ROWS * HEAD * sizeof(float));
    void *scratch = aligned_alloc(64, attention_int8_scratch_bytes(&config));
    float scores[ROWS];
    assert_true(qkv && out && expected && pieces && scratch);
    fill_floats(qkv, ROWS * 3 * HEAD, 9, 1);
    for (size_t r = 0; r < ROWS; r++)
        kernels_get()->attend_row(expected + r * HEAD, qkv + r * 3 * HEAD, qkv + HEAD,
                                  qkv + 2 * HEAD, 3 * HEAD, r + 1, HEAD, 1.0f / sqrtf(HEAD),
                                  scores);
    struct kv_head head = kv_cache_head(&cache, 1, 1, 1);
    struct head_rows rows = {qkv, qkv + HEAD, qkv + 2 * HEAD, 3 * HEAD, out, HEAD, 0, ROWS};
    attention_int8(&cache, &head, &head, &rows, scratch);
    double error = relative_error(out, expected, ROWS * HEAD);
    assert_true(error < 0.015);
    assert_true(error > 0.0001);

    head = kv_cache_head(&cache, 2, 0, 0); /* the same in pieces, elsewhere: the same bits */
    for (size_t first = 0, size = 1; first < ROWS; first += size, size = size % 7 + 1) {
        size_t count = ROWS - first < size ? ROWS - first : size;
        struct head_rows part = {qkv + first * 3 * HEAD, qkv + first * 3 * HEAD + HEAD,
                                 qkv + first * 3 * HEAD + 2 * HEAD, 3 * HEAD,
                                 pieces + first * HEAD, HEAD, first, count};
        attention_int8(&cache, &head, &head, &part, scratch);
    }
    assert_memory_equal(pieces, out, ROWS * HEAD * sizeof(float));
    kv_cache_destroy(&cache);
    free(qkv);
    free(out);
    free(expected);
    free(pieces);
    free(scratch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_multiplies_alike),
        cmocka_unit_test(the_reference_multiplies_as_plain_arithmetic),
        cmocka_unit_test(panels_are_independent),
        cmocka_unit_test(every_set_scores_alike),
        cmocka_unit_test(every_set_mixes_alike),
        cmocka_unit_test(quantized_rows_stay_close),
        cmocka_unit_test(a_row_of_zeros_or_of_infinities_breaks_nothing),
        cmocka_unit_test(shares_are_a_softmax),
        cmocka_unit_test(digits_are_joined_alike),
        cmocka_unit_test(a_linear_layer_is_close_to_fp32),
        cmocka_unit_test(attention_is_close_to_fp32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
