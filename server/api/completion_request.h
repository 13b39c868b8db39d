/* completion_request.h - one request for stories, from the prompt to the bytes of the answer.
 *
 * Starts the request's 1 to 8 stories and writes what they became in the form
 * that was asked for: one JSON answer, plain text, or server-sent events while
 * they are told. Knows nothing of HTTP connections, so tests can use it alone.
 *
 * Ownership: a telling owns its request and stories, and borrows the
 * engine. Safety: one thread at a time, except that completion_request_cancel() may
 * be called from any thread while the telling lives. `wake` runs on the
 * scheduler's thread when there may be something new, and must be quick.
 */
#ifndef ALPACA_SERVER_API_COMPLETION_REQUEST_H
#define ALPACA_SERVER_API_COMPLETION_REQUEST_H

#include "base/buffer.h"
#include "base/status.h"
#include "engine/engine.h"
#include "server/api/request.h"
#include "server/metrics.h"

#include <stdbool.h>

struct completion_request;

enum answer_format { ANSWER_JSON, ANSWER_TEXT };

/* Takes over *request (also on failure); the times between tokens go to *metrics unless NULL. A
 * request without a seed gets one. Look with completion_request_advance() before waiting for `wake`. Errors:
 * the prompt's, and scheduler_submit()'s. */
enum status completion_request_start(struct completion_request **telling, struct engine *engine, struct metrics *metrics,
                          struct api_request *request, enum answer_format form,
                          void (*wake)(void *context, bool over), void *context, struct error *err);

/* Brings all stories up to date. An error means that the telling has failed, after which it can
 * only be freed; stories that were cut off by the server's end are STATUS_STOPPED. */
enum status completion_request_advance(struct completion_request *telling, bool *finished, struct error *err);

bool completion_request_streams(const struct completion_request *telling);
bool completion_request_pings(const struct completion_request *telling); /* the stream's form has room for comments */
const char *completion_request_content_type(const struct completion_request *telling);

/* The whole answer of a finished telling. */
void completion_request_write_answer(struct completion_request *telling, struct buffer *out);
/* What is new since the last call, as events or text; the end too, once it has come. */
void completion_request_write_output(struct completion_request *telling, struct buffer *out);
/* An error inside a stream. */
void completion_request_write_failure(const struct completion_request *telling, const struct error *err,
                           struct buffer *out);

/* Counts what became of the stories; once, when the request is over. */
void completion_request_record(const struct completion_request *telling, struct metrics *metrics);

/* For the log. */
struct completion_summary {
    int prompt_tokens, completion_tokens;
    const char *finish_reason; /* of the first story */
    struct generation_usage usage; /* times, the largest of all stories */
};
struct completion_summary completion_request_summary(const struct completion_request *telling);

void completion_request_cancel(struct completion_request *telling);
void completion_request_free(struct completion_request *telling); /* NULL is allowed */

#endif
