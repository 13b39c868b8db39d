/* model.h - the Alpaca model: its dimensions, its tensors, its memory.
 *
 * The network is torch.nn.TransformerEncoder (post-norm, ReLU, causal mask):
 *     x = embedding[id] * sqrt(d_model) + sinusoid[position]
 *     per layer: x = norm1(x + out_proj(attention(x)))
 *                x = norm2(x + linear2(relu(linear1(x))))
 *     logits = head_weight @ x + head_bias
 * Sources: Vaswani et al., "Attention Is All You Need", 2017; PyTorch's
 * TransformerEncoderLayer (norm_first=False).
 *
 * Parameters, gradients and optimizer moments are float buffers of one layout,
 * described by MODEL_TENSORS and bound by parameters_bind().
 * Ownership: a model owns its buffer. A model that is not being trained never
 * changes, so any number of threads may read it.
 */
#ifndef ALPACA_MODEL_MODEL_H
#define ALPACA_MODEL_MODEL_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/status.h"
#include "model/linear.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MODEL_MAX_LAYERS = 64 };

struct model_config {
    int d_model, heads, d_ff, layers, vocab, positions;
    float norm_eps;
    int32_t unk_id, bos_id, eos_id, pad_id;
};

/* Presets "small", "mini", "alpaca"; NULL for another name. */
const struct model_config *model_preset(const char *name);
/* The ids that a story never holds: unk, bos and pad (-1 where the model has none). */
enum { MODEL_SUPPRESSED = 3 };
void model_suppressed(const struct model_config *config, int32_t ids[MODEL_SUPPRESSED]);
/* STATUS_INVALID with the field and its range when the dimensions make no model. */
enum status model_config_check(const struct model_config *config, struct error *err);

/* How a tensor is filled before training: as torch does, but with zero biases. */
enum tensor_initial {
    INITIAL_ZERO,
    INITIAL_ONE,
    INITIAL_NORMAL,         /* N(0, 1/d_model); times sqrt(d_model) the embedding has deviation 1 */
    INITIAL_XAVIER_UNIFORM, /* +-sqrt(6 / (rows + columns)): in_proj */
    INITIAL_FAN_IN_UNIFORM, /* +-1 / sqrt(columns): every other linear */
};

/* The tensor table. GLOBAL tensors exist once, LAYER tensors in every layer.
 *   X(field, name in the file, rows, columns (0: a vector), initial, decays)
 * `c` is the model's config. The order is torch's. */
#define MODEL_TENSORS_BEFORE(X)                                                                 \
    X(embedding, "embedding.weight", c->vocab, c->d_model, INITIAL_NORMAL, true)
#define MODEL_TENSORS_LAYER(X)                                                                  \
    X(in_proj_weight, "self_attn.in_proj_weight", 3 * c->d_model, c->d_model,                   \
      INITIAL_XAVIER_UNIFORM, true)                                                             \
    X(in_proj_bias, "self_attn.in_proj_bias", 3 * c->d_model, 0, INITIAL_ZERO, false)           \
    X(out_proj_weight, "self_attn.out_proj.weight", c->d_model, c->d_model,                     \
      INITIAL_FAN_IN_UNIFORM, true)                                                             \
    X(out_proj_bias, "self_attn.out_proj.bias", c->d_model, 0, INITIAL_ZERO, false)             \
    X(linear1_weight, "linear1.weight", c->d_ff, c->d_model, INITIAL_FAN_IN_UNIFORM, true)      \
    X(linear1_bias, "linear1.bias", c->d_ff, 0, INITIAL_ZERO, false)                            \
    X(linear2_weight, "linear2.weight", c->d_model, c->d_ff, INITIAL_FAN_IN_UNIFORM, true)      \
    X(linear2_bias, "linear2.bias", c->d_model, 0, INITIAL_ZERO, false)                         \
    X(norm1_weight, "norm1.weight", c->d_model, 0, INITIAL_ONE, false)                          \
    X(norm1_bias, "norm1.bias", c->d_model, 0, INITIAL_ZERO, false)                             \
    X(norm2_weight, "norm2.weight", c->d_model, 0, INITIAL_ONE, false)                          \
    X(norm2_bias, "norm2.bias", c->d_model, 0, INITIAL_ZERO, false)
#define MODEL_TENSORS_AFTER(X)                                                                  \
    X(head_weight, "head.weight", c->vocab, c->d_model, INITIAL_FAN_IN_UNIFORM, true)           \
    X(head_bias, "head.bias", c->vocab, 0, INITIAL_ZERO, false)

#define MODEL_FIELD(field, name, rows, columns, initial, decays) float *field;
struct layer_parameters {
    MODEL_TENSORS_LAYER(MODEL_FIELD)
};
struct parameters {
    MODEL_TENSORS_BEFORE(MODEL_FIELD)
    struct layer_parameters layers[MODEL_MAX_LAYERS];
    MODEL_TENSORS_AFTER(MODEL_FIELD)
};
#undef MODEL_FIELD

/* One row of the table for one model, as code that walks all tensors sees it. */
struct tensor_info {
    char name[96];     /* "encoder.layers.3.linear1.weight" */
    int layer;         /* -1 for a global tensor */
    int rank;          /* 1 or 2 */
    size_t rows, columns; /* columns is 1 for a vector */
    size_t count;      /* rows * columns */
    size_t offset;     /* floats from the start of the buffer; a multiple of 16 */
    enum tensor_initial initial;
    bool decays;       /* weight decay applies (matrices, not biases and norms) */
};

int model_tensor_count(const struct model_config *config);
void model_tensor(const struct model_config *config, int index, struct tensor_info *info);
/* Whether the tensor has no NaN and no infinity in a buffer[model_buffer_floats]. */
bool tensor_is_finite(const struct tensor_info *info, const float *buffer);
size_t model_parameter_count(const struct model_config *config); /* without alignment gaps */
size_t model_buffer_floats(const struct model_config *config);   /* with them */
/* Points every field into `buffer[model_buffer_floats]`. */
void parameters_bind(struct parameters *parameters, const struct model_config *config,
                     float *buffer);

/* The linear layers in the dtype that forward() runs them in (see linear.h). */
struct layer_linears {
    struct linear in_proj, out_proj, linear1, linear2;
};

struct model {
    struct model_config config;
    float *buffer; /* [model_buffer_floats]; NULL once prepared as INT8 */
    struct parameters parameters;
    struct layer_linears linears[MODEL_MAX_LAYERS];
    struct linear head;
    float *position_table; /* [positions, d_model] sinusoids */
    enum dtype dtype;           /* of the linears; see model_prepare() */
    enum dtype attention_dtype; /* of its products without a cache: F32, or BF16 in training */
    struct arena arena;
};

/* A model of zeros; fill it with model_initialize() or from a file. */
enum status model_create(struct model **model, const struct model_config *config,
                         struct error *err);
void model_destroy(struct model *model); /* NULL is allowed */
/* Random weights, determined by the seed. */
void model_initialize(struct model *model, uint64_t seed);

/* Turns the linear layers of a filled model into another dtype. F32 is what they are.
 * INT8 is for serving: the fp32 matrices are given back, so that the model can
 * only be run from then on, not saved or trained. */
enum status model_prepare(struct model *model, enum dtype dtype, struct error *err);

/* A model that was prepared as INT8, as bytes to be opened again: config, embedding, norms, and the
 * integer matrices in the order of the kernels, some 1.1 bytes a parameter. In the numbers of
 * little-endian machines, which reading makes sure of. The embedding is stored as BF16:
 * STATUS_UNSUPPORTED when that would change it, as in a model that was saved as F32. */
enum status model_pack(const struct model *model, struct buffer *bytes, struct error *err);
/* Opens bytes[count], which begin at a multiple of ARENA_ALIGNMENT and outlive the model: it reads
 * most of them in place. STATUS_CORRUPT unless they are what model_pack() wrote. */
enum status model_unpack(struct model **model, const void *bytes, size_t count, struct error *err);

enum { MODEL_MAX_LINEARS = 4 * MODEL_MAX_LAYERS + 1 };
/* Points the linear layers at the parameters, in F32. */
void model_bind_linears(struct model *model);
/* All linear layers of a model, layer by layer and the head last, into
 * linears[MODEL_MAX_LINEARS]; returns how many there are. */
int model_linears(struct model *model, struct linear **linears);

#endif
