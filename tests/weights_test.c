/* Model folders: what is saved loads again, and nothing wrong gets through. */
#include "base/file.h"
#include "engine/engine.h"
#include "model/weights.h"
#include "tests/support/scratch.h"

#include <cjson/cJSON.h>

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

static const struct model_config tiny = {
    .d_model = 8, .heads = 2, .d_ff = 12, .layers = 2, .vocab = 10, .positions = 16,
    .norm_eps = 1e-5f, .unk_id = 0, .bos_id = 1, .eos_id = 2, .pad_id = 3,
};

static struct model *model;

static int setup(void **state) {
    (void)state;
    scratch_open(&scratch);
    if (model_create(&model, &tiny, NULL) != STATUS_OK)
        return 1;
    model_initialize(model, 42);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    model_destroy(model);
    scratch_close(&scratch);
    return 0;
}

static void save(enum safetensors_dtype dtype) {
    struct error err = {0};
    if (weights_save(scratch_path(&scratch, "model"), "tiny", model, dtype, &err) != STATUS_OK)
        fail_msg("%s", err.message);
}

static void assert_load_fails(enum status expected, const char *words) {
    struct model *loaded;
    struct error err = {0};
    enum status status = weights_load(scratch_path(&scratch, "model"), &loaded, &err);
    assert_null(loaded);
    if (status != expected || !strstr(err.message, words))
        fail_msg("expected \"%s\", got status %d, \"%s\"", words, status, err.message);
}

/* The largest relative difference of any parameter; alignment gaps are left out. */
static double largest_difference(const struct model *a, const struct model *b) {
    double largest = 0;
    for (int t = 0; t < model_tensor_count(&a->config); t++) {
        struct tensor_info info;
        model_tensor(&a->config, t, &info);
        for (size_t i = info.offset; i < info.offset + info.count; i++) {
            double scale = fabs((double)a->buffer[i]);
            double difference = fabs((double)a->buffer[i] - (double)b->buffer[i]);
            largest = fmax(largest, scale > 0 ? difference / scale : difference);
        }
    }
    return largest;
}

static void check_round_trip(enum safetensors_dtype dtype, double least, double most) {
    struct model *loaded;
    struct error err = {0};
    save(dtype);
    if (weights_load(scratch_path(&scratch, "model"), &loaded, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    assert_memory_equal(&loaded->config, &tiny, sizeof tiny);
    double difference = largest_difference(model, loaded);
    assert_true(difference >= least && difference <= most);
    model_destroy(loaded);
}

static void test_f32_comes_back_exactly(void **state) {
    (void)state;
    check_round_trip(SAFETENSORS_F32, 0, 0);
}

static void test_bf16_comes_back_rounded(void **state) {
    (void)state;
    check_round_trip(SAFETENSORS_BF16, 1e-4, 0x1p-8);
}

static void test_names_are_torchs(void **state) {
    (void)state;
    static const char *const names[] = {
        "embedding.weight", "encoder.layers.1.self_attn.in_proj_weight",
        "encoder.layers.0.self_attn.out_proj.bias", "encoder.layers.1.norm2.weight", "head.bias",
    };
    struct safetensors file;
    save(SAFETENSORS_F32);
    assert_int_equal(
        safetensors_open(&file, scratch_path(&scratch, "model/model.safetensors"), NULL),
        STATUS_OK);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_non_null(safetensors_find(&file, names[i]));
    assert_int_equal(file.count, 1 + 2 * 12 + 2);
    assert_string_equal(safetensors_metadata(&file, "format"), "pt");
    assert_int_equal(safetensors_find(&file, names[1])->shape[0], 24);
    assert_int_equal(safetensors_find(&file, names[1])->shape[1], 8);
    safetensors_close(&file);
}

static void test_prefixed_tensors_are_read(void **state) {
    (void)state;
    struct safetensors_output *outputs = calloc(64, sizeof *outputs);
    char (*names)[128] = calloc(64, sizeof *names);
    int count = model_tensor_count(&tiny);
    for (int i = 0; i < count; i++) {
        struct tensor_info info;
        model_tensor(&tiny, i, &info);
        snprintf(names[i], sizeof names[i], "moments.%s", info.name);
        outputs[i] = (struct safetensors_output){names[i],  SAFETENSORS_F32,
                                                 info.rank, {info.rows, info.columns},
                                                 model->buffer + info.offset};
    }
    const char *path = scratch_path(&scratch, "prefixed.safetensors");
    assert_int_equal(safetensors_write(path, outputs, (size_t)count, NULL, 0, NULL), STATUS_OK);
    struct safetensors file;
    struct model *copy;
    struct error err = {0};
    assert_int_equal(safetensors_open(&file, path, NULL), STATUS_OK);
    assert_int_equal(model_create(&copy, &tiny, NULL), STATUS_OK);
    assert_int_equal(weights_read_buffer(&file, "moments.", &tiny, copy->buffer, &err), STATUS_OK);
    assert_true(largest_difference(model, copy) == 0);
    assert_int_equal(weights_read_buffer(&file, "", &tiny, copy->buffer, &err), STATUS_CORRUPT);
    assert_string_equal(err.field, "embedding.weight");
    model_destroy(copy);
    safetensors_close(&file);
    free(outputs);
    free(names);
}

/* ---- wrong tensors ------------------------------------------------------------- */

/* Writes the model's tensors with one change: drop `dropped`, transpose or add one. */
static void write_changed(const char *dropped, const char *reshaped, const char *added) {
    struct safetensors_output *outputs = calloc(64, sizeof *outputs);
    struct tensor_info *infos = calloc(64, sizeof *infos);
    size_t count = 0;
    save(SAFETENSORS_F32);
    for (int i = 0; i < model_tensor_count(&tiny); i++) {
        struct tensor_info *info = &infos[i];
        model_tensor(&tiny, i, info);
        if (dropped && strcmp(dropped, info->name) == 0)
            continue;
        bool turn = reshaped && strcmp(reshaped, info->name) == 0;
        outputs[count++] = (struct safetensors_output){
            info->name, SAFETENSORS_F32, turn ? 2 : info->rank,
            {turn ? info->columns : info->rows, turn ? info->rows : info->columns},
            model->buffer + info->offset};
    }
    if (added)
        outputs[count++] = (struct safetensors_output){added, SAFETENSORS_F32, 1, {3},
                                                       model->buffer};
    assert_int_equal(safetensors_write(scratch_path(&scratch, "model/model.safetensors"), outputs,
                                       count, NULL, 0, NULL), STATUS_OK);
    free(outputs);
    free(infos);
}

static void test_wrong_tensors_are_refused(void **state) {
    (void)state;
    write_changed("encoder.layers.1.linear2.bias", NULL, NULL);
    assert_load_fails(STATUS_CORRUPT, "\"encoder.layers.1.linear2.bias\" is missing");
    write_changed(NULL, "encoder.layers.0.linear1.weight", NULL);
    assert_load_fails(STATUS_CORRUPT, "\"encoder.layers.0.linear1.weight\" is not [12, 8]");
    write_changed(NULL, "head.bias", NULL);
    assert_load_fails(STATUS_CORRUPT, "\"head.bias\" is not [10]");
    write_changed(NULL, NULL, "encoder.norm.weight"); /* a final norm: another network */
    assert_load_fails(STATUS_UNSUPPORTED, "28 tensors instead of the model's 27");
}

static void test_values_that_are_no_numbers_are_refused(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    float *place = &model->parameters.layers[1].linear1_weight[17], good = *place;
    for (int i = 0; i < 3; i++) {
        *place = bad[i];
        save(SAFETENSORS_BF16);
        *place = good;
        assert_load_fails(STATUS_CORRUPT, "encoder.layers.1.linear1.weight");
    }
}

static void test_missing_files_are_named(void **state) {
    (void)state;
    save(SAFETENSORS_F32);
    remove(scratch_path(&scratch, "model/model.safetensors"));
    assert_load_fails(STATUS_NOT_FOUND, "model.safetensors");
    remove(scratch_path(&scratch, "model/config.json"));
    assert_load_fails(STATUS_NOT_FOUND, "config.json");
    save(SAFETENSORS_F32);
    scratch_write_text(&scratch, "model/model.safetensors", "not a model");
    assert_load_fails(STATUS_CORRUPT, "model.safetensors");
}

static void test_other_weights_are_named(void **state) {
    (void)state;
    save(SAFETENSORS_F32);
    const char *path = scratch_write_text(
        &scratch, "model/model.safetensors",
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n");
    assert_load_fails(STATUS_CORRUPT, "model.safetensors is a Git LFS pointer");
    scratch_write_text(&scratch, "model/model.safetensors", "PK\x03\x04 archive/data.pkl");
    assert_load_fails(STATUS_CORRUPT, "a zip archive, as torch.save() writes");
    remove(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_load_fails(STATUS_INVALID, "model.safetensors is a pipe"); /* and does not wait for it */
    remove(path);
    scratch_write_text(&scratch, "model/pytorch_model.bin", "");
    assert_load_fails(STATUS_UNSUPPORTED, "PyTorch's pickled weights");
    scratch_write_text(&scratch, "model/model.safetensors.index.json", "{}");
    assert_load_fails(STATUS_UNSUPPORTED, "weights in several files (sharded)");
    remove(scratch_path(&scratch, "model/model.safetensors.index.json"));
    remove(scratch_path(&scratch, "model/pytorch_model.bin"));
}

static void test_config_of_other_systems(void **state) {
    (void)state;
    struct model_config config;
    struct error err;
    const char *path = scratch_path(&scratch, "config.json");
    assert_int_equal(config_write(path, "tiny", &tiny, NULL), STATUS_OK);
    char *text = scratch_read(&scratch, "config.json");
    char marked[1000] = "\xEF\xBB\xBF", wide[2000] = "";
    size_t bytes = strlen(text);
    strcat(marked, text);
    for (size_t i = 0; i < bytes; i++)
        wide[2 * i] = text[i];
    free(text);
    path = scratch_write_text(&scratch, "config.json", marked);
    assert_int_equal(config_read(path, &config, &err), STATUS_OK);
    assert_memory_equal(&config, &tiny, sizeof config);
    path = scratch_write(&scratch, "config.json", wide, 2 * bytes);
    assert_int_equal(config_read(path, &config, &err), STATUS_CORRUPT);
    assert_non_null(strstr(err.message, "config.json is UTF-16"));
    remove(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(config_read(path, &config, &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "config.json is a pipe"));
    remove(path);
}

static void test_full_disk_keeps_the_old_model(void **state) {
    (void)state;
    struct rlimit saved, tight;
    struct error err = {0};
    save(SAFETENSORS_F32);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
    tight = saved;
    tight.rlim_cur = 1000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    enum status status = weights_save(scratch_path(&scratch, "model"), "tiny", model,
                                      SAFETENSORS_BF16, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(status, STATUS_IO);
    struct model *loaded;
    assert_int_equal(weights_load(scratch_path(&scratch, "model"), &loaded, &err), STATUS_OK);
    assert_true(largest_difference(model, loaded) == 0); /* still the F32 one */
    model_destroy(loaded);
}

/* ---- config.json ------------------------------------------------------------------ */

/* The config that we write, with one member replaced (`json`) or removed (NULL). */
static enum status read_changed(const char *key, const char *json, struct error *err) {
    const char *path = scratch_path(&scratch, "config.json");
    assert_int_equal(config_write(path, "tiny", &tiny, NULL), STATUS_OK);
    char *text = scratch_read(&scratch, "config.json");
    cJSON *root = cJSON_Parse(text);
    free(text);
    assert_non_null(root);
    assert_non_null(cJSON_GetObjectItem(root, key));
    cJSON_DeleteItemFromObject(root, key);
    if (json)
        cJSON_AddItemToObject(root, key, cJSON_CreateRaw(json));
    text = cJSON_Print(root);
    scratch_write_text(&scratch, "config.json", text);
    cJSON_free(text);
    cJSON_Delete(root);
    struct model_config config;
    return config_read(path, &config, err);
}

/* A path that was cut would name another folder. */
static void test_too_long_paths_are_refused(void **state) {
    (void)state;
    static const struct scheduler_options options = {.slots = 1, .threads = 1};
    static char folder[6000];
    memset(folder, '/', sizeof folder - 1);
    struct model *loaded;
    struct engine engine;
    struct error err = {0};
    assert_int_equal(weights_load(folder, &loaded, &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "too long"));
    assert_int_equal(weights_save(folder, "tiny", model, SAFETENSORS_F32, NULL), STATUS_INVALID);
    assert_int_equal(weights_check_tokenizer(folder, "any", NULL), STATUS_INVALID);
    assert_int_equal(engine_open(&engine, folder, NULL, &options, &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "too long"));
}

static void test_config_round_trip(void **state) {
    (void)state;
    static const char *const names[] = {"small", "mini", "alpaca"};
    const char *path = scratch_path(&scratch, "config.json");
    for (int i = 0; i < 3; i++) {
        struct model_config config, *preset = (struct model_config *)model_preset(names[i]);
        assert_int_equal(config_write(path, "a \"name\"\n", preset, NULL), STATUS_OK);
        assert_int_equal(config_read(path, &config, NULL), STATUS_OK);
        assert_memory_equal(&config, preset, sizeof config);
    }
    char *text = scratch_read(&scratch, "config.json");
    assert_non_null(strstr(text, "\"norm_eps\": 1e-05"));
    cJSON *root = cJSON_Parse(text);
    assert_string_equal(cJSON_GetObjectItem(root, "name")->valuestring, "a \"name\"\n");
    cJSON_Delete(root);
    free(text);
}

static void test_wrong_config_fields_are_named(void **state) {
    (void)state;
    static const struct {
        const char *key, *json;
        enum status status;
    } cases[] = {
        {"d_model", NULL, STATUS_CORRUPT},        {"d_model", "\"512\"", STATUS_CORRUPT},
        {"d_model", "8.5", STATUS_CORRUPT},       {"d_model", "0", STATUS_INVALID},
        {"d_model", "-8", STATUS_INVALID},        {"d_model", "1e99", STATUS_CORRUPT},
        {"d_model", "null", STATUS_CORRUPT},      {"num_heads", "3", STATUS_INVALID},
        {"num_heads", "true", STATUS_CORRUPT},    {"d_ff", "[12]", STATUS_CORRUPT},
        {"num_layers", "0", STATUS_INVALID},      {"num_layers", "1000", STATUS_INVALID},
        {"vocab_size", "2147483647", STATUS_INVALID}, {"max_positions", "{}", STATUS_CORRUPT},
        {"norm_eps", "0", STATUS_INVALID},        {"norm_eps", "\"1e-5\"", STATUS_CORRUPT},
        {"norm_eps", NULL, STATUS_CORRUPT},       {"eos_token_id", "10", STATUS_INVALID},
        {"bos_token_id", "4294967297", STATUS_CORRUPT}, {"pad_token_id", NULL, STATUS_CORRUPT},
        {"unk_token_id", "0.5", STATUS_CORRUPT},  {"model_type", "\"gpt2\"", STATUS_UNSUPPORTED},
        {"model_type", NULL, STATUS_CORRUPT},     {"activation", "\"gelu\"", STATUS_UNSUPPORTED},
        {"norm", "\"pre\"", STATUS_UNSUPPORTED},  {"norm", "1", STATUS_CORRUPT},
        {"position_encoding", "\"learned\"", STATUS_UNSUPPORTED},
        {"embedding_scale", "\"1\"", STATUS_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        enum status status = read_changed(cases[i].key, cases[i].json, &err);
        if (status != cases[i].status || strcmp(err.field, cases[i].key) != 0)
            fail_msg("%s: %s gave status %d, field \"%s\", \"%s\"", cases[i].key,
                     cases[i].json ? cases[i].json : "(none)", status, err.field, err.message);
    }
    struct error err = {0};
    assert_int_equal(read_changed("name", NULL, &err), STATUS_OK); /* only for people */
}

static void test_config_that_is_no_config(void **state) {
    (void)state;
    static const char *const texts[] = {"", "{", "[]", "{} {}", "null"};
    struct model_config config;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *path = scratch_write_text(&scratch, "config.json", texts[i]);
        assert_int_equal(config_read(path, &config, NULL), STATUS_CORRUPT);
    }
    static char large[100000];
    memset(large, ' ', sizeof large);
    const char *path = scratch_write(&scratch, "config.json", large, sizeof large);
    assert_int_equal(config_read(path, &config, NULL), STATUS_TOO_LARGE);
    path = scratch_write(&scratch, "config.json", "{}\0{}", 5);
    assert_int_equal(config_read(path, &config, NULL), STATUS_CORRUPT);
}

static void test_config_field_given_twice(void **state) {
    (void)state;
    const char *path = scratch_path(&scratch, "config.json");
    assert_int_equal(config_write(path, "tiny", &tiny, NULL), STATUS_OK);
    char *text = scratch_read(&scratch, "config.json");
    struct buffer twice = {0};
    buffer_printf(&twice, "{\"d_ff\": 12,%s", strchr(text, '{') + 1);
    scratch_write_text(&scratch, "config.json", twice.data);
    struct model_config config;
    struct error err = {0};
    assert_int_equal(config_read(path, &config, &err), STATUS_CORRUPT);
    assert_string_equal(err.field, "d_ff");
    buffer_free(&twice);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32_comes_back_exactly),
        cmocka_unit_test(test_bf16_comes_back_rounded),
        cmocka_unit_test(test_names_are_torchs),
        cmocka_unit_test(test_prefixed_tensors_are_read),
        cmocka_unit_test(test_wrong_tensors_are_refused),
        cmocka_unit_test(test_values_that_are_no_numbers_are_refused),
        cmocka_unit_test(test_missing_files_are_named),
        cmocka_unit_test(test_other_weights_are_named),
        cmocka_unit_test(test_config_of_other_systems),
        cmocka_unit_test(test_full_disk_keeps_the_old_model),
        cmocka_unit_test(test_too_long_paths_are_refused),
        cmocka_unit_test(test_config_round_trip),
        cmocka_unit_test(test_wrong_config_fields_are_named),
        cmocka_unit_test(test_config_that_is_no_config),
        cmocka_unit_test(test_config_field_given_twice),
    };
    return cmocka_run_group_tests_name("weights", tests, setup, teardown);
}
