#include "server/http/http_internal.h"

#include "server/api/routes.h"

#include <stdio.h>
#include <string.h>

#define PAGE_POLICY                                                                             \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "                \
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
#define OFFER_POLICY PAGE_POLICY "; worker-src 'self'" /* where a browser may run the engine */
#define WORKER_POLICY "default-src 'none'; script-src 'wasm-unsafe-eval'; connect-src 'self'"
#define API_POLICY "default-src 'none'; frame-ancestors 'none'"

static void add(struct MHD_Response *response, const char *name, const char *value) {
    MHD_add_response_header(response, name, value);
}

/* A browser asks before it sends headers of its own. No header harms here, so that all are let
 * through; "*" would not do, which never stands for Authorization. */
static void allow_headers(struct MHD_Connection *connection, struct MHD_Response *response) {
    static const char usual[] = "Content-Type, Authorization, X-Request-Id";
    const char *asked = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
                                                    "Access-Control-Request-Headers");
    char names[2048];
    if (asked && *asked && strlen(asked) < sizeof names - sizeof usual - 2 &&
        asked[strspn(asked, HTTP_TOKEN_CHARACTERS ", ")] == '\0')
        snprintf(names, sizeof names, "%s, %s", usual, asked);
    else
        memcpy(names, usual, sizeof usual);
    add(response, "Access-Control-Allow-Headers", names);
}

static void add_cors(struct MHD_Response *response, const char *origin) {
    add(response, "Access-Control-Allow-Origin", origin);
    add(response, "Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
    add(response, "Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS");
    add(response, "Access-Control-Max-Age", "600");
    if (strcmp(origin, "*") != 0)
        add(response, "Vary", "Origin");
}

/* Only the page itself starts workers, and only a worker runs WebAssembly. */
static const char *policy_of(const struct transaction *transaction) {
    const struct page *page = transaction->page;
    if (!page)
        return API_POLICY;
    if (!transaction->service->web.pack_name[0])
        return PAGE_POLICY;
    return strcmp(page->path, "/") == 0            ? OFFER_POLICY
           : strcmp(page->path, "/worker.js") == 0 ? WORKER_POLICY
                                                   : PAGE_POLICY;
}

/* Adds the headers that every answer has. */
void http_add_headers(struct http_transaction *transaction, struct MHD_Response *response) {
    const struct transaction *base = &transaction->base;
    const struct service *service = base->service;
    add(response, "X-Request-Id", base->id);
    add(response, "X-Content-Type-Options", "nosniff");
    add(response, "Referrer-Policy", "no-referrer");
    add(response, "Content-Security-Policy", policy_of(base));
    /* A browser asks for a page again each time; comparing the ETag costs little. */
    add(response, "Cache-Control",
        !base->page         ? "no-store"
        : base->page->fixed ? "public, max-age=31536000, immutable"
                            : "no-cache");
    if (service->options.cors_origin) {
        add_cors(response, service->options.cors_origin);
        allow_headers(transaction->connection, response);
    }
    if (atomic_load(&service->stopping))
        add(response, "Connection", "close");
}

static void add_answer_headers(const struct answer *answer, struct MHD_Response *response) {
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%d", answer->retry_after_s);
    if (answer->content_type)
        add(response, "Content-Type", answer->content_type);
    if (answer->etag)
        add(response, "ETag", answer->etag);
    if (answer->retry_after_s)
        add(response, "Retry-After", seconds);
    if (answer->allow)
        add(response, "Allow", routes_allow(answer->allow));
    if (answer->http_status == 401)
        add(response, "WWW-Authenticate", "Bearer");
}

struct MHD_Response *http_make_no_memory(void) {
    const struct problem_info *info = problem_info(PROBLEM_BUSY);
    struct answer answer = {.content_type = "application/json",
                            .retry_after_s = info->retry_after_s};
    problem_write(&answer.body, PROBLEM_BUSY, NULL, "no memory for the request");
    buffer_append_text(&answer.body, "\n");
    struct MHD_Response *response = NULL;
    if (!answer.body.failed)
        response = MHD_create_response_from_buffer(answer.body.size, answer.body.data,
                                                   MHD_RESPMEM_MUST_COPY);
    buffer_free(&answer.body);
    if (response)
        add_answer_headers(&answer, response);
    return response;
}

enum MHD_Result http_answer_no_memory(struct http_server *server,
                                      struct MHD_Connection *connection) {
    return MHD_queue_response(connection, (unsigned)problem_info(PROBLEM_BUSY)->http_status,
                              server->no_memory);
}

enum MHD_Result http_answer(struct http_transaction *transaction) {
    struct answer *answer = &transaction->base.answer;
    const struct page *page = answer->page;
    if (answer->body.failed) { /* there was no memory even for the error's text */
        answer->http_status = problem_info(PROBLEM_BUSY)->http_status;
        return http_answer_no_memory(transaction->server, transaction->connection);
    }
    /* The transaction, and so its body, lives until the answer has been sent. */
    transaction->bytes_sent = page ? page->size : answer->body.size;
    struct MHD_Response *response = MHD_create_response_from_buffer(
        transaction->bytes_sent, page ? (void *)page->data : answer->body.data,
        MHD_RESPMEM_PERSISTENT);
    if (!response)
        return http_answer_no_memory(transaction->server, transaction->connection);
    http_add_headers(transaction, response);
    add_answer_headers(answer, response);
    enum MHD_Result queued =
        MHD_queue_response(transaction->connection, (unsigned)answer->http_status, response);
    MHD_destroy_response(response);
    return queued;
}
