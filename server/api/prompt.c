#include "server/api/prompt.h"

static enum status read_ids(struct prompt *prompt, const struct engine *engine,
                            const struct api_prompt *sent, bool truncate, struct error *err) {
    if (sent->text)
        return engine_read_prompt(engine, sent->text, sent->bytes, truncate, &prompt->ids, err);
    return engine_read_ids(engine, sent->ids.ids, sent->ids.count, truncate, &prompt->ids, err);
}

enum status prompt_read(struct prompt *prompt, const struct engine *engine,
                        const struct api_prompt *sent, bool truncate, struct error *err) {
    const struct token_list *ids = &sent->ids;
    bool has_bos = ids->count > 0 && ids->ids[0] == engine->model->config.bos_id;
    *prompt = (struct prompt){.text = sent->text ? sent->text : "",
                              .bytes = sent->bytes,
                              .own = has_bos ? 0 : 1};
    enum status status = read_ids(prompt, engine, sent, false, err);
    if (status == STATUS_INVALID && truncate) {
        prompt->cut = true;
        status = read_ids(prompt, engine, sent, true, err);
    }
    if (status == STATUS_OK && !sent->text)
        status = tokenizer_decode(engine->tokenizer, ids->ids, ids->count, &prompt->decoded, err);
    if (status == STATUS_OK && prompt->decoded.size > 0) {
        prompt->text = prompt->decoded.data;
        prompt->bytes = prompt->decoded.size;
    }
    return status;
}

void prompt_free(struct prompt *prompt) {
    token_list_free(&prompt->ids);
    buffer_free(&prompt->decoded);
}
