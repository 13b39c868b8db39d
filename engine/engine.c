#include "engine/engine.h"

#include "base/file.h"
#include "base/hash.h"
#include "engine/draft_model.h"
#include "model/weights.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static bool is_model_folder(const char *folder) {
    char path[FILE_PATH_BYTES];
    return file_join(path, folder, "config.json", NULL) == STATUS_OK && file_exists(path);
}

enum status engine_find(char folder[FILE_PATH_BYTES], struct error *err) {
    static const char *const names[] = {"alpaca", "mini", "small"};
    static const char *const places[] = {"../share/alpaca/weights", "../../weights"};
    char program[FILE_PATH_BYTES], root[FILE_PATH_BYTES] = "weights";
    bool located = file_program_folder(program);
    for (size_t place = 0; place <= sizeof places / sizeof *places; place++) {
        if (place > 0 && (!located || file_join(root, program, places[place - 1], NULL)))
            continue;
        for (size_t name = 0; name < sizeof names / sizeof *names; name++)
            if (file_join(folder, root, names[name], NULL) == STATUS_OK && is_model_folder(folder))
                return STATUS_OK;
    }
    return error_set_field(err, STATUS_NOT_FOUND, "model",
                           "no model found in weights/ here or beside the program; "
                           "name a model folder with --model");
}

static void name_after_folder(struct engine *engine) {
    const char *end = engine->folder + strlen(engine->folder);
    while (end > engine->folder + 1 && end[-1] == '/')
        end--;
    const char *begin = end;
    while (begin > engine->folder && begin[-1] != '/')
        begin--;
    snprintf(engine->name, sizeof engine->name, "%.*s", (int)(end - begin), begin);
}

/* Ids mean the same to both only if the pieces and special ids agree. */
static enum status check_match(const struct engine *engine, struct error *err) {
    const struct model_config *config = &engine->model->config;
    struct tokenizer_specials specials = tokenizer_specials(engine->tokenizer);
    size_t pieces = tokenizer_vocab_size(engine->tokenizer);
    if (pieces != (size_t)config->vocab)
        return error_set(err, STATUS_CORRUPT, "%s: tokenizer.model has %zu pieces, the model %d",
                         engine->folder, pieces, config->vocab);
    if (specials.unk != config->unk_id || specials.bos != config->bos_id ||
        specials.eos != config->eos_id || specials.pad != config->pad_id)
        return error_set(err, STATUS_CORRUPT,
                         "%s: tokenizer.model and config.json disagree on the special ids",
                         engine->folder);
    return STATUS_OK;
}

/* While the weights are there as they were loaded. */
static void take_fingerprint(struct engine *engine, enum dtype dtype) {
    const struct model *model = engine->model;
    const unsigned char draw = SAMPLER_DRAW_VERSION;
    uint64_t hash = hash_bytes(0, dtype_name(dtype), strlen(dtype_name(dtype)));
    hash = hash_bytes(hash, &draw, sizeof draw);
    hash = hash_bytes(hash, model->buffer, model_buffer_floats(&model->config) * sizeof(float));
    snprintf(engine->fingerprint, sizeof engine->fingerprint, "fp_%010" PRIx64, hash >> 24);
}

static enum status start(struct engine *engine, const struct scheduler_options *options,
                         struct error *err) {
    enum status status = check_match(engine, err);
    return status == STATUS_OK
               ? scheduler_create(&engine->scheduler, engine->model, options, err)
               : status;
}

enum status engine_open(struct engine *engine, const char *folder, const char *dtype,
                        const struct scheduler_options *options, struct error *err) {
    struct scheduler_options scheduling = *options;
    char path[FILE_PATH_BYTES];
    enum dtype chosen = DTYPE_INT8;
    memset(engine, 0, sizeof *engine);
    if (dtype && (!dtype_parse(dtype, &chosen) || chosen == DTYPE_BF16))
        return error_set_field(err, STATUS_INVALID, "numeric",
                               "--numeric is int8 or f32, not \"%s\"", dtype);
    enum status status = folder ? file_path_set(engine->folder, folder, err)
                                : engine_find(engine->folder, err);
    if (status != STATUS_OK)
        return status;
    name_after_folder(engine);

    status = weights_load(engine->folder, &engine->model, err);
    if (status != STATUS_OK)
        goto fail;
    take_fingerprint(engine, chosen);
    status = model_prepare(engine->model, chosen, err);
    if (status != STATUS_OK)
        goto fail;
    status = file_join(path, engine->folder, "tokenizer.model", err);
    if (status == STATUS_OK)
        status = tokenizer_load(&engine->tokenizer, path, err);
    if (status != STATUS_OK)
        goto fail;
    status = file_join(path, engine->folder, TRUECASE_FILE, err);
    if (status == STATUS_OK)
        status = truecase_table_load(&engine->capitals, path, err);
    if (status == STATUS_OK)
        status = draft_model_open(engine, options->draft_choice, err);
    scheduling.draft = engine->draft;
    if (status == STATUS_OK)
        status = start(engine, &scheduling, err);
fail:
    if (status != STATUS_OK)
        engine_close(engine);
    return status;
}

/* ---- packed: a header, the model, the tokenizer and the table for capitals, each at a multiple of
 * the alignment -------------------------------------------------------------------------------- */

struct packed_header {
    uint32_t magic, version, draw; /* the last is SAMPLER_DRAW_VERSION, as in the fingerprint */
    uint32_t model_bytes, tokenizer_bytes, capitals_bytes; /* 0: the small table */
    char name[64], fingerprint[16];
};
_Static_assert(sizeof(struct packed_header) == 6 * 4 + 64 + 16, "no gaps");
enum { PACKED_MAGIC = 0x6b636150, PACKED_VERSION = 3 }; /* "Pack" on a little-endian machine */

static void pad(struct buffer *bytes) {
    static const char zeros[ARENA_ALIGNMENT];
    buffer_append(bytes, zeros, -bytes->size % ARENA_ALIGNMENT);
}

enum status engine_pack(const struct engine *engine, struct buffer *bytes, struct error *err) {
    struct packed_header header = {
        .magic = PACKED_MAGIC, .version = PACKED_VERSION, .draw = SAMPLER_DRAW_VERSION};
    char path[FILE_PATH_BYTES];
    struct buffer model = {0}, capitals = {0};
    struct file_map tokenizer = {0};
    memcpy(header.name, engine->name, sizeof header.name);
    memcpy(header.fingerprint, engine->fingerprint, sizeof header.fingerprint);
    enum status status = model_pack(engine->model, &model, err);
    if (status == STATUS_OK)
        status = file_join(path, engine->folder, "tokenizer.model", err);
    if (status == STATUS_OK)
        status = file_map_open(&tokenizer, path, err);
    if (status == STATUS_OK)
        status = file_join(path, engine->folder, TRUECASE_FILE, err);
    if (status == STATUS_OK && file_exists(path))
        status = file_read(path, TRUECASE_FILE_BYTES, &capitals, err);
    if (status != STATUS_OK)
        goto cleanup;
    header.model_bytes = (uint32_t)model.size;
    header.tokenizer_bytes = (uint32_t)tokenizer.size;
    header.capitals_bytes = (uint32_t)capitals.size;
    buffer_append(bytes, &header, sizeof header);
    pad(bytes);
    buffer_append(bytes, model.data, model.size);
    pad(bytes);
    buffer_append(bytes, tokenizer.data, tokenizer.size);
    pad(bytes);
    buffer_append(bytes, capitals.data, capitals.size);
    if (model.size > UINT32_MAX || tokenizer.size > UINT32_MAX)
        status = error_set(err, STATUS_TOO_LARGE, "the model is too large for a packed file");
    else if (bytes->failed)
        status = error_set(err, STATUS_NO_MEMORY, "no memory for the packed model");
cleanup:
    file_map_close(&tokenizer);
    buffer_free(&model);
    buffer_free(&capitals);
    return status;
}

static enum status read_header(struct packed_header *header, const void *bytes, size_t count,
                               struct error *err) {
    if (count < sizeof *header)
        return error_set(err, STATUS_CORRUPT, "the packed model is cut off");
    memcpy(header, bytes, sizeof *header);
    if (header->magic != PACKED_MAGIC || header->version != PACKED_VERSION ||
        header->draw != SAMPLER_DRAW_VERSION)
        return error_set(err, STATUS_CORRUPT, "this is no packed model that can be read here");
    header->name[sizeof header->name - 1] = '\0';
    header->fingerprint[sizeof header->fingerprint - 1] = '\0';
    return STATUS_OK;
}

enum status engine_packed_fingerprint(char fingerprint[16], const void *bytes, size_t count,
                                      struct error *err) {
    struct packed_header header;
    enum status status = read_header(&header, bytes, count, err);
    if (status == STATUS_OK)
        memcpy(fingerprint, header.fingerprint, sizeof header.fingerprint);
    return status;
}

enum status engine_open_packed(struct engine *engine, const void *bytes, size_t count,
                               const struct scheduler_options *options, struct error *err) {
    struct packed_header header;
    struct arena parts = {.memory = (void *)(uintptr_t)bytes, .size = (size_t)-1}; /* only read */
    memset(engine, 0, sizeof *engine);
    enum status status = read_header(&header, bytes, count, err);
    if (status != STATUS_OK)
        return status;
    arena_take(&parts, 1, sizeof header);
    const void *model = arena_take(&parts, header.model_bytes, 1);
    const void *tokenizer = arena_take(&parts, header.tokenizer_bytes, 1);
    const char *capitals = (const char *)bytes + parts.used;
    if (count != parts.used + header.capitals_bytes)
        return error_set(err, STATUS_CORRUPT, "the packed model has %zu bytes, not %zu", count,
                         parts.used + header.capitals_bytes);
    memcpy(engine->name, header.name, sizeof engine->name);
    memcpy(engine->fingerprint, header.fingerprint, sizeof engine->fingerprint);
    status = model_unpack(&engine->model, model, header.model_bytes, err);
    if (status == STATUS_OK)
        status = tokenizer_load_bytes(&engine->tokenizer, tokenizer, header.tokenizer_bytes,
                                      engine->name, err);
    if (status == STATUS_OK)
        status = header.capitals_bytes
                     ? truecase_table_parse(&engine->capitals, capitals, header.capitals_bytes,
                                            engine->name, err)
                     : truecase_table_small(&engine->capitals, err);
    if (status == STATUS_OK)
        status = start(engine, options, err);
    if (status != STATUS_OK)
        engine_close(engine);
    return status;
}

void engine_close(struct engine *engine) {
    scheduler_destroy(engine->scheduler);
    truecase_table_free(engine->capitals);
    tokenizer_free(engine->tokenizer);
    model_destroy(engine->draft);
    model_destroy(engine->model);
    memset(engine, 0, sizeof *engine);
}

/* Ends the reading of a prompt: keeps what the model has positions for, less one for the story. */
static enum status fit_prompt(const struct engine *engine, bool truncate, struct token_list *ids,
                              struct error *err) {
    size_t limit = (size_t)engine->model->config.positions - 1;
    if (ids->count <= limit)
        return STATUS_OK;
    if (!truncate)
        return error_set_field(err, STATUS_INVALID, "prompt",
                               "prompt is %zu tokens long, the model takes at most %zu",
                               ids->count, limit);
    memmove(ids->ids + 1, ids->ids + 1 + (ids->count - limit), /* bos stays in front */
            (limit - 1) * sizeof *ids->ids);
    ids->count = limit;
    return STATUS_OK;
}

static enum status append_id(struct token_list *ids, int32_t id, struct error *err) {
    if (token_list_append(ids, id))
        return STATUS_OK;
    return error_set(err, STATUS_NO_MEMORY, "no memory for the prompt");
}

enum status engine_read_prompt(const struct engine *engine, const char *text, size_t bytes,
                               bool truncate, struct token_list *ids, struct error *err) {
    *ids = (struct token_list){0};
    enum status status = append_id(ids, engine->model->config.bos_id, err);
    if (status == STATUS_OK)
        status = tokenizer_encode(engine->tokenizer, text, bytes, ids, err);
    if (status == STATUS_OK)
        status = fit_prompt(engine, truncate, ids, err);
    if (status != STATUS_OK)
        token_list_free(ids);
    return status;
}

enum status engine_read_ids(const struct engine *engine, const int32_t *tokens, size_t count,
                            bool truncate, struct token_list *ids, struct error *err) {
    const struct model_config *config = &engine->model->config;
    enum status status = STATUS_OK;
    *ids = (struct token_list){0};
    if (count == 0 || tokens[0] != config->bos_id)
        status = append_id(ids, config->bos_id, err);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        if (tokens[i] < 0 || tokens[i] >= config->vocab)
            status = error_set_field(err, STATUS_INVALID, "prompt",
                                     "the prompt's token ids must be 0 to %d, not %d",
                                     config->vocab - 1, tokens[i]);
        else
            status = append_id(ids, tokens[i], err);
    }
    if (status == STATUS_OK)
        status = fit_prompt(engine, truncate, ids, err);
    if (status != STATUS_OK)
        token_list_free(ids);
    return status;
}
