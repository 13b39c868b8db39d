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

bool http_sleep(struct http_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    bool sleep = !exchange->news;
    exchange->news = false;
    if (sleep) {
        exchange->suspended = true;
        MHD_suspend_connection(exchange->connection);
    }
    pthread_mutex_unlock(&exchange->lock);
    return sleep;
}

static void wake_now(void *context) {
    struct http_exchange *exchange = context;
    pthread_mutex_lock(&exchange->lock);
    if (exchange->suspended) {
        exchange->suspended = false;
        MHD_resume_connection(exchange->connection);
    } else {
        exchange->news = true;
    }
    pthread_mutex_unlock(&exchange->lock);
}

void http_wake(void *context, bool story_over) {
    struct http_exchange *exchange = context;
    pthread_mutex_lock(&exchange->lock);
    bool first = !exchange->woken;
    exchange->woken = true;
    pthread_mutex_unlock(&exchange->lock);
    if (first || story_over)
        wake_now(exchange);
    else /* not under the lock: the herald takes it while it holds its own */
        herald_add(exchange->server->herald, &exchange->herald);
}

/* The end of the stories wakes the exchange, which then notices that nobody listens. */
static void on_gone(void *context) {
    struct http_exchange *exchange = context;
    atomic_store(&exchange->gone, true);
    telling_cancel(exchange->base.telling);
}

static void on_tick(void *context) {
    struct http_exchange *exchange = context;
    uint64_t ping_ns = (uint64_t)exchange->server->service->options.ping_s * 1000000000u;
    if (!telling_streams(exchange->base.telling) ||
        clock_now_ns() < atomic_load(&exchange->sent_ns) + ping_ns)
        return;
    pthread_mutex_lock(&exchange->lock);
    exchange->ping = true;
    pthread_mutex_unlock(&exchange->lock);
    wake_now(exchange); /* and the first token still counts as the first wake */
}

static void start_watching(struct http_exchange *exchange) {
    exchange->watch = (struct watch_entry){
        .fd = http_connection_fd(exchange->connection),
        .on_gone = on_gone,
        .on_tick = on_tick,
        .context = exchange,
    };
    atomic_store(&exchange->sent_ns, clock_now_ns());
    exchange->watched = true;
    watch_add(exchange->server->watch, &exchange->watch);
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

static struct http_exchange *create(struct http_server *server,
                                    struct MHD_Connection *connection, const char *url,
                                    const char *method) {
    struct http_exchange *exchange = calloc(1, sizeof *exchange);
    if (!exchange)
        return NULL;
    exchange->server = server;
    exchange->connection = connection;
    exchange->client = http_connection_of(connection);
    pthread_mutex_init(&exchange->lock, NULL);
    exchange->herald = (struct herald_entry){.call = wake_now, .context = exchange};
    struct exchange *base = &exchange->base;
    base->service = server->service;
    base->wake = http_wake;
    base->wake_context = exchange;
    base->started_ns = clock_now_ns();
    base->accept = header(connection, MHD_HTTP_HEADER_ACCEPT);
    base->if_none_match = header(connection, MHD_HTTP_HEADER_IF_NONE_MATCH);
    copy_printable(base->method, sizeof base->method, method);
    copy_printable(base->path, sizeof base->path, url);
    exchange_identify(base, header(connection, "X-Request-Id"));
    routes_find(base, url);
    atomic_fetch_add(&server->active, 1);
    return exchange;
}

/* The headers are there, the body is not. */
static enum MHD_Result begin(struct http_server *server, struct MHD_Connection *connection,
                             const char *url, const char *method, void **state) {
    struct http_exchange *exchange = create(server, connection, url, method);
    if (!exchange)
        return http_answer_no_memory(server, connection);
    *state = exchange;
    struct exchange *base = &exchange->base;
    http_connection_awaits_body(exchange->client);
    bool refused = routes_refuse(base, header(connection, MHD_HTTP_HEADER_AUTHORIZATION),
                                 header(connection, MHD_HTTP_HEADER_CONTENT_ENCODING));
    const char *length_text = header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH);
    unsigned long long length = length_text ? strtoull(length_text, NULL, 10) : 0;
    base->body_too_large = length > (unsigned long long)server->service->options.body_bytes;
    /* Who waits for "100 Continue", or would send far too much, hears it now. */
    bool asks = header(connection, MHD_HTTP_HEADER_EXPECT) != NULL;
    if (length > DISCARD_LIMIT || (asks && (refused || base->body_too_large))) {
        routes_handle(base);
        return http_answer(exchange);
    }
    return MHD_YES;
}

static enum MHD_Result take_body(struct http_exchange *exchange, const char *bytes,
                                 size_t *count) {
    struct exchange *base = &exchange->base;
    size_t limit = (size_t)base->service->options.body_bytes;
    size_t taken = *count;
    *count = 0;
    if (base->body.size + taken > limit)
        base->body_too_large = true;
    if (base->answer.http_status || base->body_too_large) {
        exchange->discarded_bytes += taken;
        return exchange->discarded_bytes > DISCARD_LIMIT ? MHD_NO : MHD_YES;
    }
    if (!buffer_append(&base->body, bytes, taken))
        exchange_fail(base, PROBLEM_BUSY, NULL, "no memory for the body");
    return MHD_YES;
}

/* Looks at a telling that is to become one whole answer. */
static enum MHD_Result go_on(struct http_exchange *exchange) {
    struct exchange *base = &exchange->base;
    for (;;) {
        bool finished;
        struct error err = {0};
        enum status status = telling_advance(base->telling, &finished, &err);
        if (atomic_load(&exchange->gone))
            return MHD_NO;
        if (status != STATUS_OK) {
            exchange_fail_with(base, &err);
            return http_answer(exchange);
        }
        if (finished) {
            telling_write_answer(base->telling, &base->answer.body);
            exchange_answer(base, 200, telling_content_type(base->telling));
            return http_answer(exchange);
        }
        if (http_sleep(exchange))
            return MHD_YES;
    }
}

enum MHD_Result http_handle(void *server, struct MHD_Connection *connection, const char *url,
                            const char *method, const char *version, const char *upload,
                            size_t *upload_bytes, void **state) {
    (void)version;
    struct http_exchange *exchange = *state;
    if (!exchange)
        return begin(server, connection, url, method, state);
    if (*upload_bytes > 0)
        return take_body(exchange, upload, upload_bytes);
    if (exchange->base.telling) /* resumed */
        return go_on(exchange);

    http_connection_works(exchange->client);
    routes_handle(&exchange->base);
    if (!exchange->base.telling)
        return http_answer(exchange);
    start_watching(exchange);
    return telling_streams(exchange->base.telling) ? http_stream(exchange) : go_on(exchange);
}

static void record(struct http_exchange *exchange) {
    const struct exchange *base = &exchange->base;
    struct metrics *metrics = &exchange->server->service->metrics;
    metrics_http(metrics, routes_label_of(base), base->method, base->answer.http_status);
    if (!base->telling)
        return;
    telling_record(base->telling, metrics);
    metrics_duration(metrics, clock_now_ns() - base->started_ns);
}

void http_completed(void *context, struct MHD_Connection *connection, void **state,
                    enum MHD_RequestTerminationCode code) {
    (void)connection;
    struct http_server *server = context;
    struct http_exchange *exchange = *state;
    if (!exchange)
        return;
    *state = NULL;
    if (exchange->watched)
        watch_remove(server->watch, &exchange->watch);
    http_connection_awaits_request(exchange->client);
    if (exchange->base.answer.http_status == 0)
        exchange->base.answer.http_status = CLIENT_CLOSED_REQUEST;
    record(exchange);
    exchange_log(&exchange->base, exchange->bytes_sent, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    exchange_clear(&exchange->base); /* from here on no story wakes this exchange */
    herald_remove(server->herald, &exchange->herald);
    buffer_free(&exchange->out);
    pthread_mutex_destroy(&exchange->lock);
    free(exchange);
    atomic_fetch_sub(&server->active, 1);
}
