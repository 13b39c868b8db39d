/* The bodies of POST /generate, /v1/completions, /tokenize and /detokenize. */
#include "base/buffer.h"
#include "engine/best_of.h"
#include "server/api/api_request.h"
#include "server/api/errors.h"
#include "server/api/json.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/fence.h"

#include <cjson/cJSON.h>
#include <string.h>

static bool is_blank(const char *body, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (!memchr(" \t\r\n", body[i], 4))
            return false;
    return true;
}

/* Whether the bytes are JSON. If so, cJSON's own parser, which takes more than our reader, must
 * read the same values. It looks at no more than 63 bytes of a number, so long ones are left out,
 * and skips a byte order mark only where enough follows, so it gets none. */
static bool read_json(const char *text, size_t size) {
    struct error err = {0};
    cJSON *tree = NULL;
    enum status status = json_parse(text, size, &tree, &err);
    if (status != STATUS_OK) {
        FUZZ_CHECK(status == STATUS_INVALID && !tree);
        return false;
    }
    size_t mark = size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    cJSON *expected = cJSON_ParseWithLength(text + mark, size - mark);
    char *ours = cJSON_PrintUnformatted(tree), *theirs = cJSON_PrintUnformatted(expected);
    bool long_number = false;
    for (size_t i = 0, digits = 0; i < size; i++) {
        digits = memchr("0123456789+-.eE", text[i], 15) ? digits + 1 : 0;
        long_number |= digits > 62;
    }
    FUZZ_CHECK(ours && (long_number || (theirs && strcmp(ours, theirs) == 0)));
    cJSON_free(ours);
    cJSON_free(theirs);
    cJSON_Delete(expected);
    cJSON_Delete(tree);
    return true;
}

/* A refused body is the client's fault, never ours, and its answer is JSON. */
static void check_refusal(enum status status, const struct error *err) {
    struct buffer answer = {0};
    fuzz_check_error((int)status, err);
    FUZZ_CHECK(problem_of_status(status) == PROBLEM_INVALID);
    problem_write(&answer, PROBLEM_INVALID, err->field, err->message);
    FUZZ_CHECK(!answer.failed && read_json(answer.data, answer.size));
    buffer_free(&answer);
}

/* A text that we write as JSON is the same text when it is read. */
static void check_round_trip(const char *text) {
    struct buffer json = {0};
    struct error err = {0};
    struct api_request request;
    buffer_append_text(&json, "{\"text\":");
    json_append_text(&json, text);
    buffer_append_text(&json, "}");
    FUZZ_CHECK(api_request_parse(&request, API_TOKENIZE, json.data, json.size, &err) == STATUS_OK);
    FUZZ_CHECK(strcmp(text, request.prompts[0].text) == 0);
    api_request_free(&request);
    buffer_free(&json);
}

static void check_prompt(const struct api_prompt *prompt) {
    FUZZ_CHECK(!prompt->text || prompt->ids.count == 0);
    if (!prompt->text)
        return;
    FUZZ_CHECK(strlen(prompt->text) == prompt->bytes);
    fuzz_check_utf8(prompt->text, prompt->bytes);
    check_round_trip(prompt->text);
}

static void check_request(const struct api_request *request) {
    FUZZ_CHECK(sampling_check(&request->sampling, INT32_MAX, NULL) == STATUS_OK);
    FUZZ_CHECK(request->n >= 1 && request->n <= API_MAX_STORIES);
    FUZZ_CHECK(request->max_tokens >= 0 && request->max_tokens <= API_MAX_TOKENS);
    FUZZ_CHECK(request->sampling.seed <= SAMPLING_SEED_MAX);
    FUZZ_CHECK(request->logprobs >= -1 && request->logprobs <= TOP_LOGPROBS_MAX);
    FUZZ_CHECK(request->prompt_count >= 1 &&
               request->prompt_count * request->n <= API_MAX_STORIES);
    FUZZ_CHECK(request->best_of == 0 ||
               (request->best_of >= request->n && request->best_of <= BEST_OF_MAX &&
                request->prompt_count * request->best_of <= API_MAX_STORIES));
    for (int i = 0; i < request->prompt_count; i++)
        check_prompt(&request->prompts[i]);
    FUZZ_CHECK(request->dialect == API_COMPLETIONS || request->prompt_count == 1);
    FUZZ_CHECK(request->dialect == API_COMPLETIONS ||
               (request->prompts[0].text != NULL) == (request->dialect != API_DETOKENIZE));
    FUZZ_CHECK(request->stop_count >= 0 && request->stop_count <= COMPLETION_MAX_STOPS);
    for (int i = 0; i < request->stop_count; i++) {
        size_t bytes = strlen(request->stops[i]);
        FUZZ_CHECK(bytes >= 1 && bytes <= COMPLETION_MAX_STOP_BYTES);
        fuzz_check_utf8(request->stops[i], bytes);
    }
}

static void parse_request(enum api_dialect dialect, const char *body, size_t size, bool is_json) {
    struct api_request request;
    struct error err = {0};
    enum status status = api_request_parse(&request, dialect, body, size, &err);
    if (status != STATUS_OK) {
        check_refusal(status, &err);
        return;
    }
    FUZZ_CHECK(is_json || is_blank(body, size));
    check_request(&request);
    api_request_free(&request);
}

void fuzz_request(const uint8_t *data, size_t size) {
    /* The fence catches what a sanitizer cannot see: reads by the JSON library itself. */
    struct fence body = fence_create(size);
    if (size)
        memcpy(body.data, data, size);
    bool is_json = read_json(body.data, size);
    parse_request(API_GENERATE, body.data, size, is_json);
    parse_request(API_COMPLETIONS, body.data, size, is_json);
    parse_request(API_CHAT, body.data, size, is_json);
    parse_request(API_TOKENIZE, body.data, size, is_json);
    parse_request(API_DETOKENIZE, body.data, size, is_json);
    fence_destroy(&body);
}
