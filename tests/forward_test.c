/* Decoding with the cache, in any mixture of spans, gives the logits of the
 * whole masked forward pass; and the mask really masks. */
#include "base/pool.h"
#include "base/rng.h"
#include "model/forward.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEQUENCES = 5, POSITIONS = 96, VOCAB = 61 };

static const struct model_config config = {.d_model = 36, .heads = 3, .d_ff = 50, .layers = 3,
                                           .vocab = VOCAB, .positions = POSITIONS,
                                           .norm_eps = 1e-5f, .unk_id = 0, .bos_id = 1,
                                           .eos_id = 2, .pad_id = 3};

struct world {
    struct pool *pool;
    struct model *model;
    struct activations activations;
    struct forward_context context;
    struct kv_cache cache;
    int lengths[SEQUENCES];
    int32_t ids[SEQUENCES][POSITIONS];
    float *whole[SEQUENCES]; /* [length, VOCAB] from the whole forward pass */
};

static float *logits_of_last_batch(struct world *w, int rows) {
    float *logits = malloc((size_t)rows * VOCAB * sizeof(float));
    assert_non_null(logits);
    forward_logits_range(&w->context, 0, rows, logits);
    return logits;
}

static void run_whole(struct world *w, int sequence) {
    struct span span = {.rows = w->lengths[sequence]};
    struct batch batch = {.ids = w->ids[sequence], .rows = span.rows, .spans = &span,
                          .span_count = 1};
    forward(&w->context, &batch);
    w->whole[sequence] = logits_of_last_batch(w, span.rows);
}

static int open_world(void **state) {
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    *state = w;
    assert_int_equal(pool_create(&w->pool, 2, NULL), STATUS_OK);
    assert_int_equal(model_create(&w->model, &config, NULL), STATUS_OK);
    model_initialize(w->model, 11);
    assert_int_equal(activations_create(&w->activations, &config, SEQUENCES * POSITIONS, false, 2,
                                        NULL),
                     STATUS_OK);
    w->context = (struct forward_context){w->model, w->pool, &w->activations};
    assert_int_equal(kv_cache_create(&w->cache, &config, SEQUENCES, DTYPE_F32, NULL), STATUS_OK);
    const int lengths[SEQUENCES] = {1, 2, 33, 70, POSITIONS};
    for (int s = 0; s < SEQUENCES; s++) {
        w->lengths[s] = lengths[s];
        for (int i = 0; i < lengths[s]; i++)
            w->ids[s][i] = (int32_t)(rng_bits(5, (uint64_t)(s * POSITIONS + i)) % VOCAB);
        run_whole(w, s);
    }
    return 0;
}

static int close_world(void **state) {
    struct world *w = *state;
    for (int s = 0; s < SEQUENCES; s++)
        free(w->whole[s]);
    kv_cache_destroy(&w->cache);
    activations_destroy(&w->activations);
    model_destroy(w->model);
    pool_destroy(w->pool);
    free(w);
    return 0;
}

static void assert_rows_equal(const float *got, const float *expected, int rows) {
    double difference = 0, size = 0;
    for (int i = 0; i < rows * VOCAB; i++) {
        double d = (double)got[i] - (double)expected[i];
        difference += d * d;
        size += (double)expected[i] * (double)expected[i];
    }
    assert_true(sqrt(difference) <= 1e-4 * sqrt(size));
}

/* Feeds every sequence in pieces of at most `largest` rows (of random size),
 * as many sequences per batch as still have rows. */
static void decode_in_pieces(struct world *w, int largest, uint64_t key) {
    int done[SEQUENCES] = {0};
    uint64_t draw = 0;
    for (;;) {
        struct span spans[SEQUENCES];
        int32_t ids[SEQUENCES * POSITIONS];
        int of[SEQUENCES];
        struct batch batch = {.ids = ids, .spans = spans, .cache = &w->cache};
        for (int s = 0; s < SEQUENCES; s++) {
            int left = w->lengths[s] - done[s];
            int rows = 1 + (int)(rng_bits(key, draw++) % (uint64_t)largest);
            rows = rows < left ? rows : left;
            if (rows == 0 || rng_bits(key, draw++) % 4 == 0) /* some sit a step out */
                continue;
            memcpy(ids + batch.rows, w->ids[s] + done[s], (size_t)rows * sizeof *ids);
            of[batch.span_count] = s;
            spans[batch.span_count++] = (struct span){.slot = s, .first = done[s], .rows = rows};
            batch.rows += rows;
        }
        bool over = true;
        for (int s = 0; s < SEQUENCES; s++)
            over = over && done[s] == w->lengths[s];
        if (over)
            return;
        if (batch.rows == 0)
            continue;
        forward(&w->context, &batch);
        float *logits = logits_of_last_batch(w, batch.rows);
        int row = 0;
        for (int i = 0; i < batch.span_count; i++) {
            int s = of[i];
            assert_rows_equal(logits + (size_t)row * VOCAB,
                              w->whole[s] + (size_t)done[s] * VOCAB, spans[i].rows);
            done[s] += spans[i].rows;
            row += spans[i].rows;
        }
        free(logits);
    }
}

static void one_row_at_a_time_gives_the_same(void **state) {
    decode_in_pieces(*state, 1, 1);
}

static void small_pieces_give_the_same(void **state) {
    decode_in_pieces(*state, 7, 2);
}

static void any_spans_give_the_same(void **state) {
    for (uint64_t key = 10; key < 15; key++)
        decode_in_pieces(*state, POSITIONS, key);
}

static void several_sequences_in_one_pass(void **state) {
    struct world *w = *state;
    struct span spans[SEQUENCES];
    int32_t ids[SEQUENCES * POSITIONS];
    struct batch batch = {.ids = ids, .spans = spans, .span_count = SEQUENCES};
    for (int s = 0; s < SEQUENCES; s++) {
        memcpy(ids + batch.rows, w->ids[s], (size_t)w->lengths[s] * sizeof *ids);
        spans[s] = (struct span){.rows = w->lengths[s]};
        batch.rows += w->lengths[s];
    }
    forward(&w->context, &batch);
    float *logits = logits_of_last_batch(w, batch.rows);
    for (int s = 0, row = 0; s < SEQUENCES; row += w->lengths[s++])
        assert_rows_equal(logits + (size_t)row * VOCAB, w->whole[s], w->lengths[s]);
    free(logits);
}

static void later_tokens_change_nothing_before_them(void **state) {
    struct world *w = *state;
    int s = SEQUENCES - 1, changed = 40;
    int32_t saved = w->ids[s][changed];
    float *before = w->whole[s];
    w->ids[s][changed] = (saved + 1) % VOCAB;
    run_whole(w, s);
    float *after = w->whole[s];
    w->ids[s][changed] = saved;
    w->whole[s] = before;
    assert_memory_equal(after, before, (size_t)changed * VOCAB * sizeof(float));
    assert_memory_not_equal(after + (size_t)changed * VOCAB, before + (size_t)changed * VOCAB,
                            VOCAB * sizeof(float));
    free(after);
}

static void chosen_rows_give_their_logits(void **state) {
    struct world *w = *state;
    int s = SEQUENCES - 1, rows[] = {95, 0, 17};
    float logits[3 * VOCAB];
    struct span span = {.rows = w->lengths[s]};
    struct batch batch = {.ids = w->ids[s], .rows = span.rows, .spans = &span, .span_count = 1};
    forward(&w->context, &batch);
    forward_logits(&w->context, rows, 3, logits);
    for (int i = 0; i < 3; i++)
        assert_rows_equal(logits + i * VOCAB, w->whole[s] + (size_t)rows[i] * VOCAB, 1);
}

/* One walk to the logits gives the bits of two, also where one gives none and only fills the
 * cache. */
static void logits_in_one_walk_are_those_of_two(void **state) {
    struct world *w = *state;
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_INT8};
    int s = SEQUENCES - 1, half = w->lengths[s] / 2, last[] = {w->lengths[s] - half - 1, 0, 17};
    float expected[3 * VOCAB], logits[3 * VOCAB];
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        assert_int_equal(model_prepare(w->model, dtypes[d], NULL), STATUS_OK);
        for (int count = 1; count <= 3; count += 2) {
            struct span spans[] = {{0, 0, half}, {0, half, w->lengths[s] - half}};
            struct batch first = {.ids = w->ids[s], .rows = half, .spans = spans, .span_count = 1,
                                  .cache = &w->cache};
            struct batch second = {.ids = w->ids[s] + half, .rows = spans[1].rows,
                                   .spans = spans + 1, .span_count = 1, .cache = &w->cache};
            forward(&w->context, &first);
            forward(&w->context, &second);
            forward_logits(&w->context, last, count, expected);
            spans[0].slot = spans[1].slot = 1;
            forward_to_logits(&w->context, &first, last, 0, NULL);
            forward_to_logits(&w->context, &second, last, count, logits);
            assert_memory_equal(logits, expected, (size_t)count * VOCAB * sizeof *logits);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_row_at_a_time_gives_the_same, open_world, close_world),
        cmocka_unit_test_setup_teardown(small_pieces_give_the_same, open_world, close_world),
        cmocka_unit_test_setup_teardown(any_spans_give_the_same, open_world, close_world),
        cmocka_unit_test_setup_teardown(several_sequences_in_one_pass, open_world, close_world),
        cmocka_unit_test_setup_teardown(later_tokens_change_nothing_before_them, open_world,
                                        close_world),
        cmocka_unit_test_setup_teardown(chosen_rows_give_their_logits, open_world, close_world),
        cmocka_unit_test_setup_teardown(logits_in_one_walk_are_those_of_two, open_world,
                                        close_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
