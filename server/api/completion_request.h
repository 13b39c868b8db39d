/* completion_request.h - one request for completions, from the prompt to the bytes of the answer.
 *
 * Starts the request's 1 to 32 completions, as far as there is room for them and
 * the others when it comes, and writes what they became in the form that was asked
 * for: one JSON answer, plain text, or server-sent events while they are generated.
 * With best_of the best of them are the answer's choices, and their events begin
 * when they are known. Knows nothing of HTTP connections, so tests can use it alone.
 *
 * Ownership: it owns the API's request and the choices, and borrows its host.
 * Safety: one thread at a time, except that completion_request_cancel() may be
 * called from any thread while it lives.
 */
#ifndef ALPACA_SERVER_API_COMPLETION_REQUEST_H
#define ALPACA_SERVER_API_COMPLETION_REQUEST_H

#include "base/buffer.h"
#include "base/status.h"
#include "engine/engine.h"
#include "server/api/api_request.h"
#include "server/metrics.h"

#include <stdbool.h>

struct completion_request;

enum answer_format { ANSWER_JSON, ANSWER_TEXT };

/* What a completion request works for. */
struct completion_host {
    struct engine *engine;
    struct metrics *metrics;
    /* Runs on the scheduler's thread and must be quick: for every token of a request that is
     * streamed or has stop strings, and at every choice's end. */
    void (*wake)(void *context, bool choice_ended);
    void *context;
};

/* Takes over *api (also on failure). A request without a seed gets one. Look with
 * completion_request_advance() before waiting for `wake`. Errors: the prompt's, and
 * scheduler_submit()'s for the first choice; once that is taken in, the others wait for room. */
enum status completion_request_start(struct completion_request **request,
                                     const struct completion_host *host, struct api_request *api,
                                     enum answer_format format, struct error *err);

/* Brings all choices up to date, and starts more when there is room. An error means that the
 * request has failed, after which it can only be freed; choices that were cut off by the server's
 * end are STATUS_STOPPED. */
enum status completion_request_advance(struct completion_request *request, bool *finished,
                                       struct error *err);

bool completion_request_streams(const struct completion_request *request);
const char *completion_request_content_type(const struct completion_request *request);

/* The whole answer of a finished request. */
void completion_request_write_answer(struct completion_request *request, struct buffer *out);
/* What is new since the last call, as events or text; the end too, once it has come. */
void completion_request_write_output(struct completion_request *request, struct buffer *out);
/* A comment that keeps a silent stream's connection open, if the format has such. */
void completion_request_write_ping(const struct completion_request *request, struct buffer *out);
/* An error inside a stream. */
void completion_request_write_failure(const struct completion_request *request,
                                      const struct error *err, struct buffer *out);

/* Once, when the answer is over: cancels the choices that still run, as nobody listens any more,
 * and counts in the metrics how all of them ended. */
void completion_request_end(struct completion_request *request);

/* For the log. */
struct completion_summary {
    int prompt_tokens, completion_tokens;
    enum finish_reason finish;  /* of the first choice */
    struct request_usage usage; /* times, the largest of all choices; cached tokens, of all */
};
struct completion_summary completion_request_summary(const struct completion_request *request);

void completion_request_cancel(struct completion_request *request);
void completion_request_free(struct completion_request *request); /* NULL is allowed */

#endif
