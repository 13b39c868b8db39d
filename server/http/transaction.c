#include "server/http/http_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/api/routes.h"

#include <stdlib.h>
#include <string.h>

/* An answer sent while the client is still sending may be lost when the connection closes, so a
 * refused body is read to its end, up to this many bytes. */
enum { DISCARD_LIMIT = 4 << 20 };

/* For the log and the metrics, as other servers name it: nobody was left to answer. */
enum { CLIENT_CLOSED_REQUEST = 499 };

bool http_sleep(struct http_transaction *transaction) {
    pthread_mutex_lock(&transaction->lock);
    bool sleep = !transaction->pending;
    transaction->pending = false;
    transaction->suspended = sleep;
    if (sleep)
        MHD_suspend_connection(transaction->connection);
    pthread_mutex_unlock(&transaction->lock);
    if (!sleep)
        wakeups_finish_round(transaction->server->wakeups);
    return sleep;
}

static void wake_now(void *context) {
    struct http_transaction *transaction = context;
    pthread_mutex_lock(&transaction->lock);
    transaction->pending = true;
    if (transaction->suspended)
        MHD_resume_connection(transaction->connection);
    transaction->suspended = false;
    pthread_mutex_unlock(&transaction->lock);
}

void http_wake(void *context, bool choice_ended) {
    struct http_transaction *transaction = context;
    if (choice_ended)
        wake_now(transaction);
    else
        wakeups_add(transaction->server->wakeups, &transaction->wakeup);
}

/* The end of the choices wakes the transaction, which then notices that nobody listens. */
static void on_gone(void *context) {
    struct http_transaction *transaction = context;
    atomic_store(&transaction->gone, true);
    completion_request_cancel(transaction->base.completion);
}

/* A ping goes past the wakeups, so that the first token still is their first. */
static void on_tick(void *context) {
    struct http_transaction *transaction = context;
    uint64_t ping_ns = (uint64_t)transaction->server->service->options.ping_s * 1000000000u;
    if (!completion_request_streams(transaction->base.completion) ||
        clock_now_ns() < atomic_load(&transaction->sent_ns) + ping_ns)
        return;
    atomic_store(&transaction->ping, true);
    wake_now(transaction);
}

static void monitor_connection(struct http_transaction *transaction) {
    transaction->disconnects = (struct disconnects_entry){
        .fd = http_connection_fd(transaction->connection),
        .on_gone = on_gone,
        .on_tick = on_tick,
        .context = transaction,
    };
    atomic_store(&transaction->sent_ns, clock_now_ns());
    transaction->monitored = true;
    disconnects_add(transaction->server->disconnects, &transaction->disconnects);
}

static const char *header(struct MHD_Connection *connection, const char *name) {
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

/* For the log: whatever is not plain ASCII could forge lines there. */
static void copy_printable(char *to, size_t size, const char *from) {
    size_t i = 0;
    for (; from[i] && i < size - 1; i++)
        to[i] = from[i] > ' ' && from[i] < 0x7f ? from[i] : '?';
    to[i] = '\0';
}

static struct http_transaction *create(struct http_server *server,
                                    struct MHD_Connection *connection, const char *target) {
    struct http_transaction *transaction = calloc(1, sizeof *transaction);
    if (!transaction)
        return NULL;
    transaction->server = server;
    transaction->connection = connection;
    transaction->client = http_connection_of(connection);
    pthread_mutex_init(&transaction->lock, NULL);
    transaction->pending = true;
    transaction->wakeup = (struct wakeup){.call = wake_now, .context = transaction};
    struct transaction *base = &transaction->base;
    base->service = server->service;
    base->host = (struct completion_host){&server->service->engine, &server->service->metrics,
                                          http_wake, transaction};
    base->started_ns = clock_now_ns();
    /* A query may hold a prompt, which the log never has. */
    transaction->target_bytes = strlen(target);
    transaction->malformed = http_target_is_malformed(target);
    copy_printable(base->method, sizeof base->method, "-");
    copy_printable(base->path, sizeof base->path, target);
    base->path[strcspn(base->path, "?")] = '\0';
    transaction_identify(base, NULL);
    return transaction;
}

/* The request's first line is there. The transaction begins now already, so that the log and the
 * metrics have what the library refuses by itself, too. */
void *http_expect(void *server, const char *target, struct MHD_Connection *connection) {
    return create(server, connection, target);
}

/* The headers are there, the body is not. */
static enum MHD_Result begin(struct http_transaction *transaction, const struct http_line *line) {
    struct MHD_Connection *connection = transaction->connection;
    struct transaction *base = &transaction->base;
    const char *path;
    transaction->begun = true;
    base->started_ns = clock_now_ns();
    atomic_fetch_add(&transaction->server->active, 1);
    http_connection_awaits_body(transaction->client);
    bool sound = http_read_head(transaction, line, &path);
    base->accept = header(connection, MHD_HTTP_HEADER_ACCEPT);
    base->if_none_match = header(connection, MHD_HTTP_HEADER_IF_NONE_MATCH);
    copy_printable(base->method, sizeof base->method, line->method);
    copy_printable(base->path, sizeof base->path, path);
    transaction_identify(base, header(connection, "X-Request-Id"));
    routes_find(base, path);
    if (!sound)
        return http_answer(transaction);
    bool refused = routes_refuse(base, header(connection, MHD_HTTP_HEADER_AUTHORIZATION),
                                 header(connection, MHD_HTTP_HEADER_CONTENT_ENCODING));
    const char *length_text = header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH);
    unsigned long long length = length_text ? strtoull(length_text, NULL, 10) : 0;
    base->body_too_large = length > (unsigned long long)base->service->options.body_bytes;
    /* A client that waits for "100 Continue", or that would send more than is read and thrown
     * away, gets the refusal now. */
    bool asks = header(connection, MHD_HTTP_HEADER_EXPECT) != NULL;
    if ((refused || base->body_too_large) && (asks || length > DISCARD_LIMIT)) {
        routes_handle(base);
        return http_answer(transaction);
    }
    return MHD_YES;
}

static enum MHD_Result take_body(struct http_transaction *transaction, const char *bytes,
                                 size_t *count) {
    struct transaction *base = &transaction->base;
    size_t limit = (size_t)base->service->options.body_bytes;
    size_t taken = *count;
    *count = 0;
    if (base->body.size + taken > limit)
        base->body_too_large = true;
    if (base->answer.http_status || base->body_too_large) {
        transaction->discarded_bytes += taken;
        return transaction->discarded_bytes > DISCARD_LIMIT ? MHD_NO : MHD_YES;
    }
    if (!buffer_append(&base->body, bytes, taken))
        transaction_fail(base, PROBLEM_BUSY, NULL, "no memory for the body");
    return MHD_YES;
}

/* Looks at completions that are to become one whole answer. */
static enum MHD_Result go_on(struct http_transaction *transaction) {
    struct transaction *base = &transaction->base;
    while (!http_sleep(transaction)) {
        bool finished;
        struct error err = {0};
        enum status status = completion_request_advance(base->completion, &finished, &err);
        if (atomic_load(&transaction->gone))
            return MHD_NO;
        if (status != STATUS_OK) {
            transaction_fail_with(base, &err);
            return http_answer(transaction);
        }
        if (finished) {
            completion_request_write_answer(base->completion, &base->answer.body);
            transaction_answer(base, 200, completion_request_content_type(base->completion));
            return http_answer(transaction);
        }
    }
    return MHD_YES;
}

enum MHD_Result http_handle(void *server, struct MHD_Connection *connection, const char *url,
                            const char *method, const char *version, const char *upload,
                            size_t *upload_bytes, void **state) {
    struct http_transaction *transaction = *state;
    if (!transaction)
        return http_answer_no_memory(server, connection);
    if (!transaction->begun)
        return begin(transaction, &(struct http_line){method, url, version});
    if (*upload_bytes > 0)
        return take_body(transaction, upload, upload_bytes);
    if (transaction->base.completion) /* resumed */
        return go_on(transaction);

    http_connection_works(transaction->client);
    routes_handle(&transaction->base);
    if (!transaction->base.completion)
        return http_answer(transaction);
    monitor_connection(transaction);
    return completion_request_streams(transaction->base.completion) ? http_stream(transaction)
                                                                    : go_on(transaction);
}

static void record(struct http_transaction *transaction) {
    const struct transaction *base = &transaction->base;
    struct metrics *metrics = &transaction->server->service->metrics;
    metrics_http(metrics, routes_label_of(base), base->method, base->answer.http_status);
    if (!base->completion)
        return;
    completion_request_end(base->completion);
    metrics_duration(metrics, clock_now_ns() - base->started_ns);
}

void http_completed(void *context, struct MHD_Connection *connection, void **state,
                    enum MHD_RequestTerminationCode code) {
    struct http_server *server = context;
    struct http_transaction *transaction = *state;
    if (!transaction)
        return;
    *state = NULL;
    if (transaction->monitored)
        disconnects_remove(server->disconnects, &transaction->disconnects);
    http_connection_awaits_request(transaction->client);
    /* Without an answer of ours, the library may have given one. */
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_HTTP_STATUS);
    if (transaction->base.answer.http_status == 0)
        transaction->base.answer.http_status = info ? (int)info->http_status
                                                    : CLIENT_CLOSED_REQUEST;
    record(transaction);
    bool complete = code == MHD_REQUEST_TERMINATED_COMPLETED_OK && !transaction->cut;
    transaction_log(&transaction->base, transaction->bytes_sent, complete);
    transaction_clear(&transaction->base); /* from here on no request wakes this transaction */
    wakeups_remove(server->wakeups, &transaction->wakeup);
    buffer_free(&transaction->out);
    pthread_mutex_destroy(&transaction->lock);
    if (transaction->begun)
        atomic_fetch_sub(&server->active, 1);
    free(transaction);
}
