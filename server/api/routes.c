#include "server/api/routes.h"

#include "server/api/api_request.h"
#include "server/api/json.h"
#include "server/api/negotiation.h"
#include "server/api/openapi.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static void write_model_name(struct transaction *transaction) {
    json_append_text(&transaction->answer.body, transaction->service->engine.name);
}

static void handle_health(struct transaction *transaction) {
    buffer_append_text(&transaction->answer.body, "{\"status\":\"ok\",\"model\":");
    write_model_name(transaction);
    buffer_append_text(&transaction->answer.body, "}\n");
    transaction_answer(transaction, 200, "application/json");
}

static void handle_ready(struct transaction *transaction) {
    struct error err;
    if (service_ready(transaction->service, &err) != STATUS_OK) {
        transaction_fail_with(transaction, &err);
        return;
    }
    buffer_append_text(&transaction->answer.body, "{\"status\":\"ready\"}\n");
    transaction_answer(transaction, 200, "application/json");
}

static void start_completion(struct transaction *transaction, enum api_dialect dialect,
                             enum answer_format format) {
    struct api_request request;
    struct error err = {0};
    /* This comes first, so that an overloaded server does not parse what it refuses anyway. */
    enum status status = service_has_room(transaction->service, &err);
    if (status == STATUS_OK)
        status = api_request_parse(&request, dialect, transaction->body.data,
                                   transaction->body.size, &err);
    if (status == STATUS_OK)
        status = completion_request_start(&transaction->completion, &transaction->host, &request,
                                          format, &err);
    if (status != STATUS_OK)
        transaction_fail_with(transaction, &err);
}

static void handle_generate(struct transaction *transaction) {
    start_completion(transaction, API_GENERATE,
                     accept_prefers_text(transaction->accept) ? ANSWER_TEXT : ANSWER_JSON);
}

static void handle_completions(struct transaction *transaction) {
    start_completion(transaction, API_COMPLETIONS, ANSWER_JSON);
}

static void write_model(struct transaction *transaction) {
    const struct service *service = transaction->service;
    struct buffer *out = &transaction->answer.body;
    buffer_append_text(out, "{\"id\":");
    write_model_name(transaction);
    buffer_printf(out,
                  ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"alpaca\","
                  "\"max_model_len\":%d}",
                  (long long)service->started, service->engine.model->config.positions);
}

static void handle_models(struct transaction *transaction) {
    buffer_append_text(&transaction->answer.body, "{\"object\":\"list\",\"data\":[");
    write_model(transaction);
    buffer_append_text(&transaction->answer.body, "]}\n");
    transaction_answer(transaction, 200, "application/json");
}

static void handle_model(struct transaction *transaction) {
    if (strcmp(transaction->path_id, transaction->service->engine.name) != 0) {
        struct error err;
        error_set(&err, STATUS_NOT_FOUND, "there is no model \"%.128s\" here",
                  transaction->path_id);
        transaction_fail(transaction, PROBLEM_NO_MODEL, "model", err.message);
        return;
    }
    write_model(transaction);
    buffer_append_text(&transaction->answer.body, "\n");
    transaction_answer(transaction, 200, "application/json");
}

static void handle_chat(struct transaction *transaction) {
    start_completion(transaction, API_CHAT, ANSWER_JSON);
}

static void write_ids(struct buffer *out, const struct token_list *ids) {
    buffer_append_text(out, "{\"tokens\":[");
    for (size_t i = 0; i < ids->count; i++)
        buffer_printf(out, i ? ",%d" : "%d", ids->ids[i]);
    buffer_append_text(out, "]");
}

/* What each token adds to the text, written as in log-probabilities. */
static void write_pieces(struct buffer *out, const struct tokenizer *tokenizer,
                         const struct token_list *ids) {
    struct text_stream stream;
    struct buffer text = {0}, piece = {0};
    text_stream_start(&stream, tokenizer, false);
    buffer_append_text(out, ",\"pieces\":[");
    for (size_t i = 0; i < ids->count; i++) {
        buffer_clear(&piece);
        tokenizer_token_to_piece(tokenizer, ids->ids[i], stream.at_start, &piece, NULL);
        text_stream_push(&stream, ids->ids[i], &text, NULL);
        buffer_append_text(out, i ? "," : "");
        json_append_bytes(out, piece.data ? piece.data : "", piece.size);
        out->failed |= piece.failed || text.failed;
    }
    buffer_append_text(out, "]");
    buffer_free(&text);
    buffer_free(&piece);
}

static void handle_tokenize(struct transaction *transaction) {
    const struct engine *engine = &transaction->service->engine;
    struct buffer *out = &transaction->answer.body;
    struct api_request request = {0};
    struct token_list ids = {0};
    struct error err = {0};
    enum status status = api_request_parse(&request, API_TOKENIZE, transaction->body.data,
                                           transaction->body.size, &err);
    if (status == STATUS_OK && request.add_special &&
        !token_list_append(&ids, engine->model->config.bos_id))
        status = error_set(&err, STATUS_NO_MEMORY, "no memory for the tokens");
    if (status == STATUS_OK)
        status = tokenizer_encode(engine->tokenizer, request.prompts[0].text,
                                  request.prompts[0].bytes, &ids, &err);
    if (status != STATUS_OK) {
        transaction_fail_with(transaction, &err);
        goto cleanup;
    }
    write_ids(out, &ids);
    if (request.pieces)
        write_pieces(out, engine->tokenizer, &ids);
    buffer_printf(out, ",\"count\":%zu,\"max_model_len\":%d}\n", ids.count,
                  engine->model->config.positions);
    transaction_answer(transaction, 200, "application/json");
cleanup:
    api_request_free(&request);
    token_list_free(&ids);
}

static void handle_detokenize(struct transaction *transaction) {
    const struct tokenizer *tokenizer = transaction->service->engine.tokenizer;
    struct buffer *out = &transaction->answer.body;
    struct api_request request = {0};
    struct buffer text = {0};
    struct error err = {0};
    enum status status = api_request_parse(&request, API_DETOKENIZE, transaction->body.data,
                                           transaction->body.size, &err);
    const struct token_list *ids = &request.prompts[0].ids;
    if (status == STATUS_OK)
        status = tokenizer_decode(tokenizer, ids->ids, ids->count, &text, &err);
    if (status == STATUS_INVALID && !*err.field) /* an id that is no token's */
        snprintf(err.field, sizeof err.field, "tokens");
    if (status != STATUS_OK) {
        transaction_fail_with(transaction, &err);
        goto cleanup;
    }
    buffer_append_text(out, "{\"text\":");
    json_append_bytes(out, text.data ? text.data : "", text.size);
    buffer_append_text(out, "}\n");
    out->failed |= text.failed;
    transaction_answer(transaction, 200, "application/json");
cleanup:
    api_request_free(&request);
    buffer_free(&text);
}

static void handle_metrics(struct transaction *transaction) {
    struct service *service = transaction->service;
    struct scheduler_stats stats = scheduler_stats(service->engine.scheduler);
    metrics_write(&service->metrics, &transaction->answer.body, &stats, service->started,
                  routes_label);
    transaction_answer(transaction, 200, METRICS_CONTENT_TYPE);
}

static void handle_openapi(struct transaction *transaction) {
    openapi_write(&transaction->answer.body, transaction->service->engine.model->config.vocab);
    transaction_answer(transaction, 200, "application/json");
}

/* Whether an If-None-Match header, a list of tags or *, has this one. */
static bool tag_matches(const char *header, const char *etag) {
    return header && (strcmp(header, "*") == 0 || strstr(header, etag));
}

static void answer_page(struct transaction *transaction) {
    const struct page *page = transaction->page;
    bool unchanged = tag_matches(transaction->if_none_match, page->etag);
    transaction->answer.etag = page->etag;
    transaction->answer.page = unchanged ? NULL : page;
    transaction->answer.content_type = unchanged ? NULL : page->content_type;
    transaction->answer.http_status = unchanged ? 304 : 200;
}

static void handle_web_file(struct transaction *transaction) {
    transaction->page = web_files_find(&transaction->service->web, transaction->path_id);
    if (transaction->page)
        answer_page(transaction);
    else
        transaction_fail(transaction, PROBLEM_NOT_FOUND, NULL, "there is nothing at this path");
}

static const struct route routes[] = {
    {"/generate", METHOD_POST, false, handle_generate},
    {"/v1/completions", METHOD_POST, false, handle_completions},
    {"/v1/chat/completions", METHOD_POST, false, handle_chat},
    {"/v1/models", METHOD_GET, false, handle_models},
    {"/v1/models/{id}", METHOD_GET, false, handle_model},
    {"/tokenize", METHOD_POST, false, handle_tokenize},
    {"/detokenize", METHOD_POST, false, handle_detokenize},
    {"/openapi.json", METHOD_GET, true, handle_openapi},
    {"/health", METHOD_GET, true, handle_health},
    {"/ready", METHOD_GET, true, handle_ready},
    {"/metrics", METHOD_GET, false, handle_metrics},
    {"/web/{id}", METHOD_GET, true, handle_web_file},
};
enum { ROUTE_COUNT = sizeof routes / sizeof *routes };

/* Index 0 stands for all other paths; the routes follow, then the pages. A path that a client makes
 * up never becomes a label, so their number is fixed. */
const char *routes_label(int index) {
    if (index == 0)
        return "other";
    if (index <= ROUTE_COUNT)
        return routes[index - 1].path;
    const struct page *page = pages;
    while (page->path && page - pages < index - 1 - ROUTE_COUNT)
        page++;
    return page->path;
}

int routes_label_of(const struct transaction *transaction) {
    int index = transaction->route  ? 1 + (int)(transaction->route - routes)
                : transaction->page ? 1 + ROUTE_COUNT + (int)(transaction->page - pages)
                                    : 0;
    return index < METRICS_PATHS ? index : 0;
}

/* Whether this is the route's path; a route that ends in {id} takes any text in its place, which
 * then is *id. */
static bool is_path_of(const struct route *route, const char *path, const char **id) {
    size_t fixed = strcspn(route->path, "{");
    if (!route->path[fixed])
        return strcmp(route->path, path) == 0;
    *id = path + fixed;
    return strncmp(route->path, path, fixed) == 0 && path[fixed];
}

void routes_find(struct transaction *transaction, const char *path) {
    transaction->page = pages_find(path);
    for (size_t i = 0; i < ROUTE_COUNT && !transaction->route; i++)
        if (is_path_of(&routes[i], path, &transaction->path_id))
            transaction->route = &routes[i];
}

const char *routes_allow(unsigned methods) {
    static const char *const texts[] = {"OPTIONS", "GET, HEAD, OPTIONS", "POST, OPTIONS",
                                        "GET, HEAD, POST, OPTIONS"};
    return texts[methods & 3];
}

static unsigned method_of(const char *name) {
    if (strcmp(name, "GET") == 0 || strcmp(name, "HEAD") == 0)
        return METHOD_GET;
    return strcmp(name, "POST") == 0 ? METHOD_POST : 0;
}

bool routes_refuse(struct transaction *transaction, const char *authorization,
                   const char *content_encoding) {
    const struct route *route = transaction->route;
    const struct service *service = transaction->service;
    unsigned methods = route ? route->methods : METHOD_GET;
    if (service->loopback_only &&
        !host_is_local(transaction->authority, service->options.allow_host)) {
        transaction_fail(transaction, PROBLEM_MISDIRECTED, NULL,
                         "this server has another name; --allow-host can add this one");
        return true;
    }
    if (!route && !transaction->page) {
        transaction_fail(transaction, PROBLEM_NOT_FOUND, NULL, "there is nothing at this path");
        return true;
    }
    if (strcmp(transaction->method, "OPTIONS") == 0) {
        transaction->answer.allow = methods;
        transaction->answer.http_status = 204;
        return true;
    }
    if (!(method_of(transaction->method) & methods)) {
        transaction_fail(transaction, PROBLEM_METHOD, NULL, "this path does not take this method");
        transaction->answer.allow = methods;
        return true;
    }
    if (route && !route->open && !keys_accept(&service->keys, authorization)) {
        transaction_fail(transaction, PROBLEM_UNAUTHORIZED, NULL,
                         "send a valid key: Authorization: Bearer KEY");
        return true;
    }
    if (content_encoding && strcasecmp(content_encoding, "identity") != 0) {
        transaction_fail(transaction, PROBLEM_ENCODING, NULL, "send the body uncompressed");
        return true;
    }
    return false;
}

void routes_handle(struct transaction *transaction) {
    if (transaction->answer.http_status)
        return; /* refused already */
    if (transaction->body_too_large) {
        char message[96];
        snprintf(message, sizeof message, "the body is larger than %d bytes",
                 transaction->service->options.body_bytes);
        transaction_fail(transaction, PROBLEM_TOO_LARGE, NULL, message);
        return;
    }
    if (transaction->page)
        answer_page(transaction);
    else
        transaction->route->handle(transaction);
}
