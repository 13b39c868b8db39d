/* A packed model: opened from memory, step by step, it tells what the model folder tells. */
#include "base/hash.h"
#include "engine/completion.h"
#include "model/weights.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FOLDER "weights/small"

static const struct scheduler_options stepped = {
    .slots = 1, .queue = 1, .threads = 1, .prefill_chunk = 8, .stepped = true};
static struct engine engine;
static struct buffer packed;

static int open_and_pack(void **state) {
    (void)state;
    struct error err = {0};
    enum status status = engine_open(&engine, FOLDER, NULL, &stepped, &err);
    if (status == STATUS_OK)
        status = engine_pack(&engine, &packed, &err);
    if (status != STATUS_OK)
        print_error("%s\n", err.message);
    return status != STATUS_OK;
}

static int close_all(void **state) {
    (void)state;
    engine_close(&engine);
    buffer_free(&packed);
    return 0;
}

/* The caller frees the bytes, which are as many as are asked for and no more. */
static enum status open_bytes(struct engine *opened, size_t count, void **bytes,
                              struct error *err) {
    *bytes = aligned_alloc(ARENA_ALIGNMENT, (count + 63) / 64 * 64);
    assert_non_null(*bytes);
    memcpy(*bytes, packed.data, count);
    return engine_open_packed(opened, *bytes, count, &stepped, err);
}

static void tell(struct engine *from, uint64_t seed, struct buffer *text) {
    static const char prompt[] = "once upon a time";
    struct token_list ids;
    struct completion completion = {0};
    assert_int_equal(engine_read_prompt(from, prompt, strlen(prompt), false, &ids, NULL),
                     STATUS_OK);
    struct completion_params params = {.request = {.prompt = ids.ids,
                                                   .prompt_count = (int)ids.count,
                                                   .max_tokens = 60,
                                                   .sampling = sampling_defaults()},
                                       .continues = true,
                                       .capitals = true,
                                       .before = prompt,
                                       .before_bytes = strlen(prompt)};
    params.request.sampling.seed = seed;
    assert_int_equal(completion_start(&completion, from, &params, NULL), STATUS_OK);
    while (scheduler_step(from->scheduler)) {
    }
    assert_int_equal(completion_advance(&completion, NULL), STATUS_OK);
    assert_int_not_equal(completion.finish, FINISH_NONE);
    size_t bytes;
    buffer_append(text, completion_text(&completion, &bytes), completion.cased.size);
    completion_free(&completion);
    token_list_free(&ids);
}

static void test_tells_what_the_folder_tells(void **state) {
    (void)state;
    struct engine opened;
    void *bytes;
    assert_int_equal(open_bytes(&opened, packed.size, &bytes, NULL), STATUS_OK);
    assert_string_equal(opened.name, "small");
    assert_string_equal(opened.fingerprint, engine.fingerprint);
    for (uint64_t seed = 0; seed < 5; seed++) {
        struct buffer text = {0}, other = {0};
        tell(&engine, seed, &text);
        tell(&opened, seed, &other);
        assert_true(text.size > 0);
        assert_non_null(strpbrk(text.data, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"));
        assert_string_equal(text.data, other.data);
        buffer_free(&text);
        buffer_free(&other);
    }
    engine_close(&opened);
    free(bytes);
}

static void test_the_fingerprint_is_that_of_all_that_a_seed_depends_on(void **state) {
    (void)state;
    const unsigned char draw = SAMPLER_DRAW_VERSION;
    char expected[sizeof engine.fingerprint];
    struct model *model;
    assert_int_equal(weights_load(FOLDER, &model, NULL), STATUS_OK);
    uint64_t hash = hash_bytes(hash_bytes(0, "int8", 4), &draw, 1);
    hash = hash_bytes(hash, model->buffer, model_buffer_floats(&model->config) * sizeof(float));
    snprintf(expected, sizeof expected, "fp_%010" PRIx64, hash >> 24);
    assert_string_equal(engine.fingerprint, expected);
    model_destroy(model);
}

static void test_what_is_cut_off_is_refused(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 63, 64, 79, 80, 127, 128, 200, packed.size / 2, packed.size - 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct engine opened;
        struct error err = {0};
        void *bytes;
        assert_int_equal(open_bytes(&opened, sizes[i], &bytes, &err), STATUS_CORRUPT);
        assert_non_null(strstr(err.message, "packed model"));
        assert_null(opened.model);
        free(bytes);
    }
}

/* Of the engine's header and the model's, which begins at 128: magic, versions, sizes, shapes. */
static void test_a_header_that_does_not_fit_is_refused(void **state) {
    (void)state;
    static const size_t places[] = {0, 4, 8, 12, 16, 20, 128, 132, 136, 140, 148, 152};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct engine opened;
        struct error err = {0};
        void *bytes;
        packed.data[places[i]] ^= 0x7f;
        assert_int_not_equal(open_bytes(&opened, packed.size, &bytes, &err), STATUS_OK);
        packed.data[places[i]] ^= 0x7f;
        assert_string_not_equal(err.message, "");
        free(bytes);
    }
}

static void test_weights_that_packing_would_change_are_refused(void **state) {
    (void)state;
    struct error err = {0};
    struct buffer bytes = {0};
    float *entry = &engine.model->parameters.embedding[77], before = *entry;
    *entry = 0.1f;
    assert_int_equal(engine_pack(&engine, &bytes, &err), STATUS_UNSUPPORTED);
    assert_non_null(strstr(err.message, "BF16"));
    *entry = before;
    buffer_free(&bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tells_what_the_folder_tells),
        cmocka_unit_test(test_the_fingerprint_is_that_of_all_that_a_seed_depends_on),
        cmocka_unit_test(test_what_is_cut_off_is_refused),
        cmocka_unit_test(test_a_header_that_does_not_fit_is_refused),
        cmocka_unit_test(test_weights_that_packing_would_change_are_refused),
    };
    return cmocka_run_group_tests_name("packed", tests, open_and_pack, close_all);
}
