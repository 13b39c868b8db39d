/* draft_model.h - which model folder drafts (draft.h) for the engine's model.
 *
 * Ownership: the engine owns the model that was opened. Thread-safe for different engines.
 */
#ifndef ALPACA_ENGINE_DRAFT_MODEL_H
#define ALPACA_ENGINE_DRAFT_MODEL_H

#include "base/status.h"

struct engine;

/* Sets draft and draft_folder of an engine whose model is there. `choice` is a model folder; "off";
 * or "auto", NULL too: of the folders beside the model's that have the same tokenizer.model and at
 * most a quarter of the parameters, the one with the most. There is none for a model in F32: then
 * "auto" finds nothing, and a folder is STATUS_INVALID. With "auto" a folder that cannot be read is
 * warned of and not used. */
enum status draft_model_open(struct engine *engine, const char *choice, struct error *err);

#endif
