/* original.h - evaluation/original.json: what the original Alpaca and GPT2-XL answered, and the
 * grades that they were given.
 *
 * Ownership: the caller deletes the JSON with cJSON_Delete(). Thread-safe.
 */
#ifndef ALPACA_EVALUATION_ORIGINAL_H
#define ALPACA_EVALUATION_ORIGINAL_H

#include "base/status.h"

struct cJSON;

/* {"source", "prompts": [{"kind", "prompt", "alpaca", "gpt2_xl"}], "continuations": [{"prompt",
 * "alpaca": {"text", "grammar", "creativity", "consistency"}, "gpt2_xl": the same}]} */
enum status original_load(struct cJSON **original, struct error *err);

#endif
