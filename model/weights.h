/* weights.h - a model folder: read, check, write.
 *
 *     weights/NAME/config.json        dimensions, special ids, norm eps, scale rule
 *                  model.safetensors  BF16 or F32, under torch's tensor names
 *                  tokenizer.model    read by the tokenizer room; here only compared, as bytes
 *                  README.md          the model card
 *
 * Everything in a file is checked before it is used. Files are replaced in one
 * step, so a crash or a full disk leaves the previous ones whole.
 * Ownership: a loaded model is the caller's. Thread-safe for different folders.
 */
#ifndef ALPACA_MODEL_WEIGHTS_H
#define ALPACA_MODEL_WEIGHTS_H

#include "base/status.h"
#include "model/model.h"
#include "model/safetensors.h"

/* A config.json. Reading gives STATUS_CORRUPT, _INVALID or _UNSUPPORTED with the field. `name` is
 * written into the file. */
enum status config_read(const char *path, struct model_config *config, struct error *err);
enum status config_write(const char *path, const char *name, const struct model_config *config,
                         struct error *err);

/* Loads config.json and model.safetensors of `folder`. The caller owns *model. */
enum status weights_load(const char *folder, struct model **model, struct error *err);
/* Writes both; dtype is SAFETENSORS_BF16 (rounded to nearest even) or _F32. `name` goes
 * into config.json. The folder is created when missing. */
enum status weights_save(const char *folder, const char *name, const struct model *model,
                         enum safetensors_dtype dtype, struct error *err);

/* Fills `buffer` (layout of model.h) from the file's tensors PREFIX + name, widening to
 * fp32. Missing tensors and wrong shapes are STATUS_CORRUPT naming the tensor. */
enum status weights_read_buffer(const struct safetensors *file, const char *prefix,
                                const struct model_config *config, float *buffer,
                                struct error *err);
/* STATUS_INVALID unless the folder's tokenizer.model is the same bytes as the file `tokenizer`:
 * models whose ids mean different pieces have nothing to do with each other. */
enum status weights_check_tokenizer(const char *folder, const char *tokenizer, struct error *err);

#endif
