#include "server/http/http_internal.h"

#include "base/clock.h"

#include <string.h>
#include <sys/types.h>

enum { STREAM_BLOCK_BYTES = 4096 };

static bool take_ping(struct http_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    bool ping = exchange->ping;
    exchange->ping = false;
    pthread_mutex_unlock(&exchange->lock);
    return ping;
}

/* Fills the empty `out` with what there is to say now. */
static void refill(struct http_exchange *exchange) {
    struct telling *telling = exchange->base.telling;
    bool finished = false;
    struct error err = {0};
    bool ping = take_ping(exchange);
    enum status status = telling_advance(telling, &finished, &err);
    if (status == STATUS_OK)
        telling_write_news(telling, &exchange->out);
    else
        telling_write_failure(telling, &err, &exchange->out);
    exchange->over = finished || status != STATUS_OK;
    if (exchange->out.size == 0 && ping && telling_pings(telling))
        buffer_append_text(&exchange->out, ": still here\n\n");
    /* A client that left gets no end; neither does one whose story has a hole. */
    if (atomic_load(&exchange->gone) || exchange->out.failed) {
        buffer_clear(&exchange->out);
        exchange->over = exchange->cut = true;
    }
}

static ssize_t read_stream(void *context, uint64_t position, char *bytes, size_t max) {
    (void)position;
    struct http_exchange *exchange = context;
    for (;;) {
        size_t left = exchange->out.size - exchange->out_sent;
        if (left > 0) {
            size_t count = left < max ? left : max;
            memcpy(bytes, exchange->out.data + exchange->out_sent, count);
            exchange->out_sent += count;
            exchange->bytes_sent += count;
            atomic_store(&exchange->sent_ns, clock_now_ns());
            return (ssize_t)count;
        }
        buffer_clear(&exchange->out);
        exchange->out_sent = 0;
        if (exchange->over)
            return exchange->cut ? MHD_CONTENT_READER_END_WITH_ERROR
                                 : MHD_CONTENT_READER_END_OF_STREAM;
        refill(exchange);
        if (exchange->out.size == 0 && !exchange->over && http_sleep(exchange))
            return 0;
    }
}

enum MHD_Result http_stream(struct http_exchange *exchange) {
    struct MHD_Response *response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, read_stream, exchange, NULL);
    if (!response)
        return http_answer_no_memory(exchange->server, exchange->connection);
    exchange->base.answer.http_status = 200;
    http_add_headers(exchange, response);
    MHD_del_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    MHD_add_response_header(response, "Content-Type", telling_content_type(exchange->base.telling));
    MHD_add_response_header(response, "X-Accel-Buffering", "no"); /* proxies pass it on at once */
    enum MHD_Result queued = MHD_queue_response(exchange->connection, 200, response);
    MHD_destroy_response(response);
    return queued;
}
