/* The promise of INT8: the same logits, stories and log-probabilities, bit for bit, alone
 * or in a batch of any size, with any number of threads, however prompts are cut into chunks, from
 * any kv slot, and on every instruction set. The reference is the portable code with one thread
 * running one row at a time. */
#include "base/pool.h"
#include "base/rng.h"
#include "engine/scheduler.h"
#include "model/forward.h"
#include "model/kernels/kernels.h"
#include "tests/support/sanitized.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEQUENCES = SANITIZED ? 16 : 64, POSITIONS = 50, VOCAB = 130 };

/* Odd on purpose: heads of 20 are no whole register, and 130 outputs no whole panel. */
static const struct model_config config = {
    .d_model = 60, .heads = 3, .d_ff = 98, .layers = 2, .vocab = VOCAB, .positions = POSITIONS,
    .norm_eps = 1e-5f, .unk_id = 0, .bos_id = 1, .eos_id = 2, .pad_id = 3,
};

static const char *const sets[] = {"portable", "avx2", "avx512", "amx"};
enum { SETS = sizeof sets / sizeof *sets };

static struct model *model;

static int setup(void **state) {
    (void)state;
    if (model_create(&model, &config, NULL) != STATUS_OK)
        return 1;
    model_initialize(model, 11);
    return model_prepare(model, DTYPE_INT8, NULL) == STATUS_OK ? 0 : 1;
}

static int teardown(void **state) {
    (void)state;
    model_destroy(model);
    return kernels_select(NULL, NULL) == STATUS_OK ? 0 : 1;
}

/* ---- logits ----------------------------------------------------------------------- */

static int length_of(int sequence) {
    return 3 + (int)(rng_bits(21, (uint64_t)sequence) % (POSITIONS - 2));
}

static int32_t id_at(int sequence, int position) {
    return (int32_t)(rng_bits(22 + (uint64_t)sequence, (uint64_t)position) % VOCAB);
}

struct way {
    const char *set;
    int threads;
    int batch; /* sequences at a time */
    int chunk; /* rows of a sequence per step at most; later sequences take one or two more */
};

/* logits[SEQUENCES, POSITIONS, VOCAB] of every position of every sequence. */
static void run_forward(const struct way *way, float *logits) {
    struct pool *pool;
    struct activations activations;
    struct kv_cache cache;
    int max_rows = way->batch * (way->chunk + 2);
    struct span spans[SEQUENCES];
    int32_t *ids = calloc((size_t)max_rows, sizeof *ids);
    float *rows = calloc((size_t)max_rows * VOCAB, sizeof *rows);
    assert_true(ids && rows);
    assert_int_equal(kernels_select(way->set, NULL), STATUS_OK);
    assert_int_equal(pool_create(&pool, way->threads, NULL), STATUS_OK);
    assert_int_equal(activations_create(&activations, &config, max_rows, false, way->threads, NULL),
                     STATUS_OK);
    assert_int_equal(kv_cache_create(&cache, &config, way->batch, DTYPE_INT8, NULL), STATUS_OK);
    const struct forward_context context = {model, pool, &activations};
    for (int group = 0; group < SEQUENCES; group += way->batch) {
        int done[SEQUENCES] = {0};
        for (;;) {
            struct batch batch = {.ids = ids, .spans = spans, .cache = &cache};
            int owners[SEQUENCES];
            for (int i = 0; i < way->batch && group + i < SEQUENCES; i++) {
                int s = group + i, left = length_of(s) - done[i];
                int count = left < way->chunk + s % 3 ? left : way->chunk + s % 3;
                if (left <= 0)
                    continue;
                owners[batch.span_count] = i;
                spans[batch.span_count++] = /* slots in reverse, so none means anything */
                    (struct span){.slot = way->batch - 1 - i, .first = done[i], .rows = count};
                for (int r = 0; r < count; r++)
                    ids[batch.rows++] = id_at(s, done[i] + r);
            }
            if (batch.span_count == 0)
                break;
            forward(&context, &batch);
            forward_logits_range(&context, 0, batch.rows, rows);
            const float *from = rows;
            for (int j = 0; j < batch.span_count; j++) {
                size_t place = (size_t)(group + owners[j]) * POSITIONS + (size_t)spans[j].first;
                size_t floats = (size_t)spans[j].rows * VOCAB;
                memcpy(logits + place * VOCAB, from, floats * sizeof *logits);
                from += floats;
                done[owners[j]] += spans[j].rows;
            }
        }
    }
    kv_cache_destroy(&cache);
    activations_destroy(&activations);
    pool_destroy(pool);
    free(ids);
    free(rows);
}

static void logits_are_the_same_bits(void **state) {
    (void)state;
    static const struct way ways[] = {
        {NULL, 2, 1, 1},  {NULL, 1, 1, POSITIONS}, {NULL, 1, 2, 5},   {NULL, 2, 4, 1},
        {NULL, 2, 8, 16}, {NULL, 3, 32, 7},        {NULL, 1, 64, 1},  {NULL, 2, 64, 1},
        {NULL, 2, 64, 3}, {NULL, 2, 64, POSITIONS}, {NULL, 4, 13, 2},
    };
    size_t floats = (size_t)SEQUENCES * POSITIONS * VOCAB;
    float *expected = calloc(floats, sizeof *expected), *got = calloc(floats, sizeof *got);
    assert_true(expected && got);
    run_forward(&(struct way){"portable", 1, 1, 1}, expected);
    size_t different = 0; /* the logits say something */
    for (size_t i = 1; i < floats; i++)
        different += expected[i] != expected[i - 1];
    assert_true(different > floats / 3);
    for (int s = 0; s < SETS; s++) {
        if (kernels_select(sets[s], NULL) != STATUS_OK)
            continue;
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            struct way way = ways[w];
            way.set = sets[s];
            memset(got, 0, floats * sizeof *got);
            run_forward(&way, got);
            if (memcmp(got, expected, floats * sizeof *got) != 0)
                fail_msg("%s, %d threads, %d sequences, chunks of %d: other bits", way.set,
                         way.threads, way.batch, way.chunk);
        }
    }
    free(expected);
    free(got);
}

/* ---- stories ----------------------------------------------------------------------- */

struct story {
    int32_t tokens[POSITIONS];
    int count;
    enum finish_reason finish;
    struct token_logprobs logprobs[POSITIONS], prompt_logprobs[POSITIONS];
};

struct listener {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int outputs;
};

static void on_output(void *context, enum finish_reason finish, uint64_t gap_ns) {
    struct listener *listener = context;
    (void)finish, (void)gap_ns;
    pthread_mutex_lock(&listener->lock);
    listener->outputs++;
    pthread_cond_signal(&listener->changed);
    pthread_mutex_unlock(&listener->lock);
}

static struct sampling settings_of(int story) {
    struct sampling s = sampling_defaults();
    s.seed = rng_bits(33, (uint64_t)story);
    s.temperature = story % 5 == 0 ? 0.0f : 0.6f + 0.1f * (float)(story % 7);
    s.top_k = story % 4 == 1 ? 12 : 0;
    s.top_p = story % 4 == 2 ? 0.9f : 1.0f;
    s.min_p = story % 4 == 3 ? 0.05f : 0.0f;
    s.repetition_penalty = story % 3 == 0 ? 1.2f : 1.0f;
    return s;
}

/* Every third story begins like another one, for those who remember prompts. */
static int prompt_of(int story, int32_t prompt[POSITIONS]) {
    int like = story % 3 == 2 ? story - 2 : story;
    int count = 1 + (int)(rng_bits(32, (uint64_t)story) % (POSITIONS - 15));
    for (int i = 0; i < count; i++)
        prompt[i] = id_at(i < count / 2 ? like : story, i);
    return count;
}

/* Some do not ask, some for a few, some for their prompt's as well. */
static bool wants_logprobs(int story) {
    return story % 4 != 3;
}

static bool wants_prompt_logprobs(int story) {
    return story % 4 == 1;
}

static struct request *submit(struct scheduler *scheduler, int story, const int32_t *prompt,
                              int count, bool with_prompt, struct listener *listener) {
    struct request_params params = {.prompt = prompt,
                                    .prompt_count = count,
                                    .max_tokens = POSITIONS,
                                    .sampling = settings_of(story),
                                    .logprobs = wants_logprobs(story),
                                    .top_logprobs = story % (TOP_LOGPROBS_MAX + 1),
                                    .prompt_logprobs = with_prompt && wants_prompt_logprobs(story),
                                    .on_output = on_output,
                                    .context = listener};
    struct request *request;
    struct error err;
    if (scheduler_submit(scheduler, &params, &request, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return request;
}

static void copy_logprobs(const struct request *request, int number, int prompt_count,
                          struct story *story) {
    for (int i = 0; i < story->count && wants_logprobs(number); i++)
        story->logprobs[i] = *request_logprobs(request, i);
    for (int i = 1; i < prompt_count; i++)
        story->prompt_logprobs[i] = *request_prompt_logprobs(request, i);
}

/* With prompt_count 0 the log-probabilities of the prompt are left alone. */
static void collect(struct request *request, int number, int prompt_count,
                    struct listener *listener, struct story *story) {
    struct request_output output;
    memset(story, 0, sizeof *story);
    for (;;) {
        pthread_mutex_lock(&listener->lock);
        int outputs = listener->outputs;
        pthread_mutex_unlock(&listener->lock);
        output = request_output(request);
        if (output.finish != FINISH_NONE)
            break;
        pthread_mutex_lock(&listener->lock);
        while (listener->outputs == outputs)
            pthread_cond_wait(&listener->changed, &listener->lock);
        pthread_mutex_unlock(&listener->lock);
    }
    memcpy(story->tokens, output.ids, (size_t)output.count * sizeof *output.ids);
    story->count = output.count;
    story->finish = output.finish;
    copy_logprobs(request, number, prompt_count, story);
    request_release(request);
}

static struct scheduler *create(int slots, int threads, int prefill_chunk) {
    struct scheduler_options options = {.slots = slots,
                                        .queue = SEQUENCES,
                                        .threads = threads,
                                        .prefill_chunk = prefill_chunk};
    struct scheduler *scheduler;
    assert_int_equal(scheduler_create(&scheduler, model, &options, NULL), STATUS_OK);
    return scheduler;
}

/* All stories, `together` at a time, on one scheduler. When `before` is there, each prompt is
 * continued by the first half of the story generated before, and so must be the rest of it. */
static void generate_on(struct scheduler *scheduler, int together, const struct story *before,
                    struct story *stories) {
    struct request *requests[SEQUENCES];
    struct listener listener = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    for (int begin = 0; begin < SEQUENCES; begin += together) {
        int end = begin + together < SEQUENCES ? begin + together : SEQUENCES;
        int prompt_counts[SEQUENCES];
        for (int s = begin; s < end; s++) {
            int32_t prompt[2 * POSITIONS];
            int count = prompt_of(s, prompt), more = before ? before[s].count / 2 : 0;
            if (more > 0)
                memcpy(prompt + count, before[s].tokens, (size_t)more * sizeof *prompt);
            prompt_counts[s] = !before && wants_prompt_logprobs(s) ? count : 0;
            requests[s] = submit(scheduler, s, prompt, count + more, !before, &listener);
        }
        for (int s = begin; s < end; s++)
            collect(requests[s], s, prompt_counts[s], &listener, &stories[s]);
    }
}

static void generate(const char *set, int threads, int together, int prefill_chunk,
                 struct story *stories) {
    assert_int_equal(kernels_select(set, NULL), STATUS_OK);
    struct scheduler *scheduler = create(together, threads, prefill_chunk);
    generate_on(scheduler, together, NULL, stories);
    scheduler_destroy(scheduler);
}

static void stories_are_the_same(void **state) {
    (void)state;
    static const struct {
        int threads, together, prefill_chunk;
    } ways[] = {{1, 1, 64}, {2, 1, 3},  {1, 2, 64}, {2, 4, 1},
                {2, 8, 16}, {1, 32, 5}, {2, 32, 64}, {2, 64, 11}};
    static struct story expected[SEQUENCES], got[SEQUENCES];
    generate("portable", 1, 1, 1, expected);
    int tokens = 0, ended = 0;
    for (int s = 0; s < SEQUENCES; s++) {
        for (int i = 0; i < expected[s].count; i++) /* said of all who asked, and of no others */
            assert_true((expected[s].logprobs[i].own < 0) == wants_logprobs(s));
        for (int i = 1; i < prompt_of(s, (int32_t[POSITIONS]){0}); i++)
            assert_true((expected[s].prompt_logprobs[i].own < 0) == wants_prompt_logprobs(s));
        tokens += expected[s].count;
        ended += expected[s].finish == FINISH_STOP;
    }
    assert_true(tokens > 10 * SEQUENCES);
    assert_true(ended > 0 && ended < SEQUENCES);
    for (int set = 0; set < SETS; set++) {
        if (kernels_select(sets[set], NULL) != STATUS_OK)
            continue;
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            generate(sets[set], ways[w].threads, ways[w].together, ways[w].prefill_chunk, got);
            for (int s = 0; s < SEQUENCES; s++) {
                if (memcmp(&got[s], &expected[s], sizeof got[s]) != 0)
                    fail_msg("story %d is another one: %s, %d threads, %d together, %d prompt rows",
                             s, sets[set], ways[w].threads, ways[w].together,
                             ways[w].prefill_chunk);
            }
        }
    }
}

static void remembered_beginnings_change_nothing(void **state) {
    (void)state;
    static const struct {
        int slots, together;
    } ways[] = {{1, 1}, {4, 1}, {64, 64}, {8, 3}, {64, 16}};
    static struct story expected[SEQUENCES], first[SEQUENCES], second[SEQUENCES];
    generate("portable", 1, 1, 1, expected);
    assert_int_equal(kernels_select(NULL, NULL), STATUS_OK);
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        struct scheduler *scheduler = create(ways[w].slots, 2, 16);
        generate_on(scheduler, ways[w].together, NULL, first);
        assert_memory_equal(first, expected, sizeof first);
        struct scheduler_stats before = scheduler_stats(scheduler);
        generate_on(scheduler, ways[w].together, expected, second);
        struct scheduler_stats after = scheduler_stats(scheduler);
        scheduler_destroy(scheduler);
        for (int s = 0; s < SEQUENCES; s++) {
            int half = expected[s].count / 2, rest = expected[s].count - half;
            assert_int_equal(second[s].count, rest);
            assert_int_equal(second[s].finish, expected[s].finish);
            assert_memory_equal(second[s].tokens, expected[s].tokens + half,
                                (size_t)rest * sizeof(int32_t));
            assert_memory_equal(second[s].logprobs, expected[s].logprobs + half,
                                (size_t)rest * sizeof(struct token_logprobs));
        }
        uint64_t queries = after.prefix_queries - before.prefix_queries;
        uint64_t hits = after.prefix_hits - before.prefix_hits;
        assert_true(hits < queries);
        assert_int_equal(after.prompt_tokens - before.prompt_tokens, queries - hits);
        if (ways[w].slots >= SEQUENCES) /* every story is still there, whole */
            assert_true(hits + 2 * SEQUENCES > queries);
    }
}

/* A story that is sent back as a prompt was as probable as it was when it was generated, also where
 * its rows lie in the kv cache already. */
static void reading_gives_what_generating_gave(void **state) {
    (void)state;
    static struct story generated[SEQUENCES], read;
    struct listener listener = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    assert_int_equal(kernels_select(NULL, NULL), STATUS_OK);
    struct scheduler *scheduler = create(SEQUENCES, 2, 7); /* all stories stay there */
    generate_on(scheduler, 16, NULL, generated);
    int compared = 0;
    for (int s = 1; s < SEQUENCES; s += 4) { /* those that want their prompt's */
        int32_t prompt[2 * POSITIONS];
        int count = prompt_of(s, prompt), more = generated[s].count;
        if (count + more == POSITIONS) /* one position is for what is generated */
            more--;
        memcpy(prompt + count, generated[s].tokens, (size_t)more * sizeof *prompt);
        uint64_t hits = scheduler_stats(scheduler).prefix_hits;
        struct request *request = submit(scheduler, s, prompt, count + more, true, &listener);
        collect(request, s, count + more, &listener, &read);
        assert_int_equal(scheduler_stats(scheduler).prefix_hits, hits);
        assert_memory_equal(read.prompt_logprobs, generated[s].prompt_logprobs,
                            (size_t)count * sizeof *read.prompt_logprobs);
        assert_memory_equal(read.prompt_logprobs + count, generated[s].logprobs,
                            (size_t)more * sizeof *read.prompt_logprobs);
        compared += more;
    }
    assert_true(compared > SEQUENCES);
    scheduler_destroy(scheduler);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_the_same_bits),
        cmocka_unit_test(stories_are_the_same),
        cmocka_unit_test(remembered_beginnings_change_nothing),
        cmocka_unit_test(reading_gives_what_generating_gave),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
