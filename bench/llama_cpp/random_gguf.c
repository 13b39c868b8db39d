/* A GGUF file with random weights. ggml's own functions quantize and write it, so each type of
 * numbers is stored as llama.cpp's tools store it. */
#include "bench/llama_cpp/llama_side.h"

#include "base/rng.h"

#include <ggml.h>
#include <gguf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Those with blocks of at most BLOCK weights, of which a row of each matrix is a multiple. */
static const enum ggml_type types[] = {GGML_TYPE_Q8_0, GGML_TYPE_Q4_0, GGML_TYPE_F16,
                                       GGML_TYPE_BF16, GGML_TYPE_F32};
enum { BLOCK = 32 };

struct writer {
    struct gguf_context *gguf;
    struct ggml_context *tensors;
    enum ggml_type type;
    float *values; /* for the largest tensor */
    uint64_t seed; /* another for each tensor */
};

/* Three matrices of this width have as many weights as our two of d_ff, but for rounding. */
static int gated_width(const struct model_config *shape) {
    return (2 * shape->d_ff / 3 + BLOCK / 2) / BLOCK * BLOCK;
}

/* A matrix from `in` to `out`; `out` 0: the factors of a norm. */
static void add(struct writer *w, const char *name, int in, int out) {
    enum ggml_type type = out ? w->type : GGML_TYPE_F32;
    int rows = out ? out : 1;
    struct ggml_tensor *tensor = out ? ggml_new_tensor_2d(w->tensors, type, in, out)
                                     : ggml_new_tensor_1d(w->tensors, type, in);
    for (size_t i = 0; i < (size_t)in * (size_t)rows; i++)
        w->values[i] = out ? 0.02f * (float)rng_normal(w->seed, i) : 1.0f;
    w->seed++;
    ggml_quantize_chunk(type, w->values, ggml_get_data(tensor), 0, rows, in, NULL);
    ggml_set_name(tensor, name);
    gguf_add_tensor(w->gguf, tensor);
}

static void add_layer(struct writer *w, const struct model_config *shape, int layer) {
    int d_model = shape->d_model, d_ff = gated_width(shape);
    const struct {
        const char *name;
        int in, out;
    } parts[] = {{"attn_norm", d_model, 0},         {"attn_q", d_model, d_model},
                 {"attn_k", d_model, d_model},      {"attn_v", d_model, d_model},
                 {"attn_output", d_model, d_model}, {"ffn_norm", d_model, 0},
                 {"ffn_gate", d_model, d_ff},       {"ffn_up", d_model, d_ff},
                 {"ffn_down", d_ff, d_model}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s.weight", layer, parts[i].name);
        add(w, name, parts[i].in, parts[i].out);
    }
}

static void add_settings(struct gguf_context *gguf, const struct model_config *shape) {
    const struct {
        const char *name;
        int value;
    } numbers[] = {{"vocab_size", shape->vocab},
                   {"context_length", shape->positions},
                   {"embedding_length", shape->d_model},
                   {"block_count", shape->layers},
                   {"feed_forward_length", gated_width(shape)},
                   {"attention.head_count", shape->heads},
                   {"attention.head_count_kv", shape->heads},
                   {"rope.dimension_count", shape->d_model / shape->heads}};
    gguf_set_val_str(gguf, "general.architecture", "llama");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char name[64];
        snprintf(name, sizeof name, "llama.%s", numbers[i].name);
        gguf_set_val_u32(gguf, name, (uint32_t)numbers[i].value);
    }
    gguf_set_val_f32(gguf, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_set_val_str(gguf, "tokenizer.ggml.model", "no_vocab");
}

static bool type_parse(const char *name, enum ggml_type *type) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        *type = types[i];
        if (strcmp(ggml_type_name(*type), name) == 0)
            return true;
    }
    return false;
}

enum status llama_write_model(const char *file, const struct model_config *shape, const char *type,
                              struct error *err) {
    struct writer w = {.seed = 1};
    if (!type_parse(type, &w.type))
        return error_set_field(err, STATUS_INVALID, "types",
                               "--types is a list of q8_0, q4_0, f16, bf16 and f32, not \"%s\"",
                               type);
    size_t largest = (size_t)shape->d_model * (size_t)shape->vocab;
    enum status status = STATUS_OK;
    w.values = malloc(largest * sizeof *w.values);
    w.gguf = gguf_init_empty();
    w.tensors = ggml_init((struct ggml_init_params){.mem_size = (size_t)256 << 20});
    if (!w.values || !w.gguf || !w.tensors) {
        status = error_set(err, STATUS_NO_MEMORY, "no memory for a GGUF file");
        goto cleanup;
    }
    add_settings(w.gguf, shape);
    add(&w, "token_embd.weight", shape->d_model, shape->vocab);
    for (int i = 0; i < shape->layers; i++)
        add_layer(&w, shape, i);
    add(&w, "output_norm.weight", shape->d_model, 0);
    add(&w, "output.weight", shape->d_model, shape->vocab);
    if (!gguf_write_to_file(w.gguf, file, false))
        status = error_set_errno(err, "cannot write %s", file);
cleanup:
    if (w.tensors)
        ggml_free(w.tensors);
    if (w.gguf)
        gguf_free(w.gguf);
    free(w.values);
    return status;
}
