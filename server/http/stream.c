#include "server/http/http_internal.h"

#include "base/clock.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

enum { STREAM_BLOCK_BYTES = 4096 };

/* Fills the empty `out` with what there is to say now. */
static void refill(struct http_transaction *transaction) {
    struct completion_request *completion = transaction->base.completion;
    bool finished = false;
    struct error err = {0};
    bool ping = atomic_exchange(&transaction->ping, false);
    enum status status = completion_request_advance(completion, &finished, &err);
    if (status == STATUS_OK)
        completion_request_write_output(completion, &transaction->out);
    else
        completion_request_write_failure(completion, &err, &transaction->out);
    transaction->over = finished || status != STATUS_OK;
    if (transaction->out.size == 0 && ping)
        completion_request_write_ping(completion, &transaction->out);
    /* A client that left gets no end; neither does one whose text has a hole. */
    if (atomic_load(&transaction->gone) || transaction->out.failed) {
        buffer_clear(&transaction->out);
        transaction->over = transaction->cut = true;
    }
}

static ssize_t read_stream(void *context, uint64_t position, char *bytes, size_t max) {
    (void)position;
    struct http_transaction *transaction = context;
    for (;;) {
        size_t left = transaction->out.size - transaction->out_sent;
        if (left > 0) {
            size_t count = left < max ? left : max;
            memcpy(bytes, transaction->out.data + transaction->out_sent, count);
            transaction->out_sent += count;
            transaction->bytes_sent += count;
            atomic_store(&transaction->sent_ns, clock_now_ns());
            return (ssize_t)count;
        }
        buffer_clear(&transaction->out);
        transaction->out_sent = 0;
        if (transaction->over) {
            /* After an error here, the library forgets the connection until its idle timeout.
             * So the stream ends, but what says so to the client can no longer be sent. */
            if (transaction->cut)
                shutdown(http_connection_fd(transaction->connection), SHUT_RDWR);
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        if (http_sleep(transaction))
            return 0;
        refill(transaction);
    }
}

enum MHD_Result http_stream(struct http_transaction *transaction) {
    struct MHD_Response *response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, read_stream, transaction, NULL);
    if (!response)
        return http_answer_no_memory(transaction->server, transaction->connection);
    transaction->base.answer.http_status = 200;
    http_add_headers(transaction, response);
    MHD_del_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    MHD_add_response_header(response, "Content-Type",
                            completion_request_content_type(transaction->base.completion));
    MHD_add_response_header(response, "X-Accel-Buffering", "no"); /* proxies pass it on at once */
    enum MHD_Result queued = MHD_queue_response(transaction->connection, 200, response);
    MHD_destroy_response(response);
    return queued;
}
