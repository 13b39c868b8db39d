/* activations.h - every intermediate result of forward(), for one batch.
 *
 * Training keeps all layers, because backward() reads them; serving keeps one
 * and reuses it. Both run the same code through activations_layer().
 * Ownership: one arena. One thread uses it at a time.
 */
#ifndef ALPACA_MODEL_ACTIVATIONS_H
#define ALPACA_MODEL_ACTIVATIONS_H

#include "base/arena.h"
#include "base/status.h"
#include "model/linear.h"
#include "model/model.h"

/* What forward() spends its time on; the embedding counts with the norms. Where INT8 makes rows in
 * the stage of the product that reads them, their norms count with the linear layers. */
enum forward_part { PART_LINEARS, PART_ATTENTION, PART_NORMS, FORWARD_PARTS };

struct norm_stats {
    float *mean; /* [rows] */
    float *rstd; /* [rows] 1 / sqrt(variance + eps) */
};

struct layer_activations {
    float *qkv;          /* [rows, 3 d_model] */
    float *attention;    /* [rows, d_model] heads side by side, before out_proj */
    float *logsumexp;    /* [heads, rows] log of each softmax's denominator, maximum included */
    float *residual1;    /* [rows, d_model] x + out_proj(...), before norm1 */
    struct norm_stats norm1;
    float *middle;       /* [rows, d_model] after norm1 */
    float *hidden;       /* [rows, d_ff] after ReLU (and dropout) */
    float *residual2;    /* [rows, d_model] before norm2 */
    struct norm_stats norm2;
};

struct activations {
    struct model_config config;
    int max_rows, workers;
    bool keeps_layers;
    float *x; /* [layers + 1 or 2, max_rows, d_model] input of each layer; the last is the output */
    struct layer_activations layers[MODEL_MAX_LAYERS];
    float *scores; /* [workers, scores_floats] scratch of attention */
    size_t scores_floats;
    float *gathered; /* [max_rows, d_model] rows that logits are wanted for */
    float *own_x;    /* [workers, 2, LINEAR_FEW_ROWS, d_model] two inputs that each worker made */
    struct linear_scratch linear;
    struct fetch_run *fetch_runs; /* [workers, fetch_runs_each] what the next attention reads */
    size_t fetch_runs_each;
    struct heads_done *heads_done; /* [max_rows] for attention_int8.h */
    uint64_t *part_ns; /* [FORWARD_PARTS] time is added to these; NULL: it is not measured */
    struct arena arena;
};

/* For batches of at most max_rows rows on a pool of `workers`. STATUS_NO_MEMORY is all that can go
 * wrong. */
enum status activations_create(struct activations *activations, const struct model_config *config,
                               int max_rows, bool keeps_layers, int workers, struct error *err);
void activations_destroy(struct activations *activations);

/* The buffers of a layer, and its input, [rows, d_model]. */
const struct layer_activations *activations_layer(const struct activations *activations, int layer);
float *activations_input(const struct activations *activations, int layer);
float *activations_output(const struct activations *activations); /* the encoder's */

#endif
