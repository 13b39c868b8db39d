#include "server/api/routes.h"

#include "server/api/json.h"
#include "server/api/openapi.h"
#include "server/api/request.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static void write_model_name(struct exchange *exchange) {
    json_append_text(&exchange->answer.body, exchange->service->engine.name);
}

static void handle_health(struct exchange *exchange) {
    buffer_append_text(&exchange->answer.body, "{\"status\":\"ok\",\"model\":");
    write_model_name(exchange);
    buffer_append_text(&exchange->answer.body, "}\n");
    exchange_answer(exchange, 200, "application/json");
}

static void handle_ready(struct exchange *exchange) {
    struct error err;
    if (service_ready(exchange->service, &err) != STATUS_OK) {
        exchange_fail_with(exchange, &err);
        return;
    }
    buffer_append_text(&exchange->answer.body, "{\"status\":\"ready\"}\n");
    exchange_answer(exchange, 200, "application/json");
}

/* Whether the client would rather have plain text than JSON: the first of the two it names. */
static enum telling_form wanted_form(const char *accept) {
    if (!accept)
        return TELLING_JSON;
    for (const char *at = accept; *at; at += strcspn(at, ","), at += *at == ',') {
        at += strspn(at, " \t");
        if (strncasecmp(at, "text/plain", 10) == 0)
            return TELLING_TEXT;
        if (strncasecmp(at, "application/json", 16) == 0 ||
            strncasecmp(at, "text/event-stream", 17) == 0)
            return TELLING_JSON;
    }
    return TELLING_JSON;
}

static void start_telling(struct exchange *exchange, enum api_dialect dialect,
                          enum telling_form form) {
    struct api_request request;
    struct error err = {0};
    /* First of all, so that an overloaded server spends nothing on what it will not do. */
    enum status status = service_has_room(exchange->service, &err);
    if (status == STATUS_OK)
        status = api_request_parse(&request, dialect, exchange->body.data ? exchange->body.data : "",
                                   exchange->body.size, &err);
    if (status == STATUS_OK)
        status = telling_start(&exchange->telling, &exchange->service->engine,
                               &exchange->service->metrics, &request, form, exchange->wake,
                               exchange->wake_context, &err);
    if (status != STATUS_OK)
        exchange_fail_with(exchange, &err);
}

static void handle_generate(struct exchange *exchange) {
    start_telling(exchange, API_GENERATE, wanted_form(exchange->accept));
}

static void handle_completions(struct exchange *exchange) {
    start_telling(exchange, API_COMPLETIONS, TELLING_JSON);
}

static void handle_models(struct exchange *exchange) {
    struct service *service = exchange->service;
    struct buffer *out = &exchange->answer.body;
    buffer_append_text(out, "{\"object\":\"list\",\"data\":[{\"id\":");
    write_model_name(exchange);
    buffer_printf(out,
                  ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"alpaca\","
                  "\"max_model_len\":%d}]}\n",
                  (long long)service->started, service->engine.model->config.positions);
    exchange_answer(exchange, 200, "application/json");
}

static void handle_tokenize(struct exchange *exchange) {
    const struct engine *engine = &exchange->service->engine;
    struct buffer *out = &exchange->answer.body;
    struct token_list ids = {0};
    struct error err = {0};
    void *tree = NULL;
    const char *text = NULL;
    enum status status = api_parse_text(exchange->body.data ? exchange->body.data : "",
                                        exchange->body.size, "text", &tree, &text, &err);
    if (status == STATUS_OK)
        status = tokenizer_encode(engine->tokenizer, text, strlen(text), &ids, &err);
    if (status != STATUS_OK) {
        exchange_fail_with(exchange, &err);
        goto cleanup;
    }
    buffer_append_text(out, "{\"tokens\":[");
    for (size_t i = 0; i < ids.count; i++)
        buffer_printf(out, i ? ",%d" : "%d", ids.ids[i]);
    buffer_printf(out, "],\"count\":%zu,\"max_model_len\":%d}\n", ids.count,
                  engine->model->config.positions);
    exchange_answer(exchange, 200, "application/json");
cleanup:
    api_tree_free(tree);
    token_list_free(&ids);
}

static void handle_detokenize(struct exchange *exchange) {
    struct buffer *out = &exchange->answer.body;
    struct token_list ids = {0};
    struct buffer text = {0};
    struct error err = {0};
    enum status status = api_parse_ids(exchange->body.data ? exchange->body.data : "",
                                       exchange->body.size, "tokens", &ids, &err);
    if (status == STATUS_OK)
        status =
            tokenizer_decode(exchange->service->engine.tokenizer, ids.ids, ids.count, &text, &err);
    if (status != STATUS_OK) {
        exchange_fail_with(exchange, &err);
        goto cleanup;
    }
    buffer_append_text(out, "{\"text\":");
    json_append_bytes(out, text.data ? text.data : "", text.size);
    buffer_append_text(out, "}\n");
    out->failed |= text.failed;
    exchange_answer(exchange, 200, "application/json");
cleanup:
    token_list_free(&ids);
    buffer_free(&text);
}

static void handle_metrics(struct exchange *exchange) {
    struct service *service = exchange->service;
    struct scheduler_stats stats = scheduler_stats(service->engine.scheduler);
    metrics_write(&service->metrics, &exchange->answer.body, &stats, service->started,
                  routes_label);
    exchange_answer(exchange, 200, METRICS_CONTENT_TYPE);
}

static void handle_openapi(struct exchange *exchange) {
    openapi_write(&exchange->answer.body);
    exchange_answer(exchange, 200, "application/json");
}

static const struct route routes[] = {
    {"/generate", METHOD_POST, false, handle_generate},
    {"/v1/completions", METHOD_POST, false, handle_completions},
    {"/v1/models", METHOD_GET, false, handle_models},
    {"/tokenize", METHOD_POST, false, handle_tokenize},
    {"/detokenize", METHOD_POST, false, handle_detokenize},
    {"/openapi.json", METHOD_GET, true, handle_openapi},
    {"/health", METHOD_GET, true, handle_health},
    {"/ready", METHOD_GET, true, handle_ready},
    {"/metrics", METHOD_GET, false, handle_metrics},
};
enum { ROUTE_COUNT = sizeof routes / sizeof *routes };

/* 0 is all that is not here, then come the routes, then the pages. Labels must stay few, so a
 * path that clients make up never is one. */
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

int routes_label_of(const struct exchange *exchange) {
    int index = exchange->route  ? 1 + (int)(exchange->route - routes)
                : exchange->page ? 1 + ROUTE_COUNT + (int)(exchange->page - pages)
                                 : 0;
    return index < METRICS_PATHS ? index : 0;
}

void routes_find(struct exchange *exchange, const char *path) {
    exchange->page = pages_find(path);
    for (size_t i = 0; i < ROUTE_COUNT; i++)
        if (strcmp(routes[i].path, path) == 0)
            exchange->route = &routes[i];
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

bool routes_refuse(struct exchange *exchange, const char *authorization,
                   const char *content_encoding) {
    const struct route *route = exchange->route;
    unsigned methods = route ? route->methods : METHOD_GET;
    if (!route && !exchange->page) {
        exchange_fail(exchange, PROBLEM_NOT_FOUND, NULL, "there is nothing at this path");
        return true;
    }
    if (strcmp(exchange->method, "OPTIONS") == 0) {
        exchange->answer.allow = methods;
        exchange->answer.http_status = 204;
        return true;
    }
    if (!(method_of(exchange->method) & methods)) {
        exchange_fail(exchange, PROBLEM_METHOD, NULL, "this path does not take this method");
        exchange->answer.allow = methods;
        return true;
    }
    if (route && !route->open && !keys_accept(&exchange->service->keys, authorization)) {
        exchange_fail(exchange, PROBLEM_UNAUTHORIZED, NULL,
                      "send a valid key: Authorization: Bearer KEY");
        return true;
    }
    if (content_encoding && strcasecmp(content_encoding, "identity") != 0) {
        exchange_fail(exchange, PROBLEM_ENCODING, NULL, "send the body uncompressed");
        return true;
    }
    return false;
}

/* If-None-Match: a list of tags, or *. */
static bool tag_matches(const char *header, const char *etag) {
    return header && (strcmp(header, "*") == 0 || strstr(header, etag));
}

static void answer_page(struct exchange *exchange) {
    const struct page *page = exchange->page;
    bool known = tag_matches(exchange->if_none_match, page->etag);
    exchange->answer.etag = page->etag;
    exchange->answer.page = known ? NULL : page;
    exchange->answer.content_type = known ? NULL : page->content_type;
    exchange->answer.http_status = known ? 304 : 200;
}

void routes_handle(struct exchange *exchange) {
    if (exchange->answer.http_status)
        return; /* refused already */
    if (exchange->body_too_large) {
        char message[96];
        snprintf(message, sizeof message, "the body is larger than %d bytes",
                 exchange->service->options.body_bytes);
        exchange_fail(exchange, PROBLEM_TOO_LARGE, NULL, message);
        return;
    }
    if (exchange->page)
        answer_page(exchange);
    else
        exchange->route->handle(exchange);
}
