#include "server/api/transaction.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "server/api/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void exchange_fail(struct exchange *exchange, enum problem problem, const char *param,
                   const char *message) {
    const struct problem_info *info = problem_info(problem);
    buffer_free(&exchange->answer.body);
    exchange->answer.page = NULL;
    exchange->answer.retry_after_s = info->retry_after_s;
    problem_write(&exchange->answer.body, problem, param, message);
    buffer_append_text(&exchange->answer.body, "\n");
    exchange->answer.http_status = info->http_status;
    exchange->answer.content_type = "application/json";
}

void exchange_fail_with(struct exchange *exchange, const struct error *err) {
    enum problem problem = problem_of_status(err->status);
    if (problem == PROBLEM_INTERNAL)
        log_error("request %s failed: %s", exchange->id, err->message);
    exchange_fail(exchange, problem, err->field, err->message);
}

void exchange_answer(struct exchange *exchange, int http_status, const char *content_type) {
    if (exchange->answer.body.failed) {
        exchange_fail(exchange, PROBLEM_BUSY, NULL, "no memory for the answer");
        return;
    }
    exchange->answer.http_status = http_status;
    exchange->answer.content_type = content_type;
}

void exchange_identify(struct exchange *exchange, const char *wanted) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789-_.:";
    size_t length = wanted ? strlen(wanted) : 0;
    if (length > 0 && length < sizeof exchange->id && strspn(wanted, allowed) == length)
        memcpy(exchange->id, wanted, length + 1);
    else
        snprintf(exchange->id, sizeof exchange->id, "%016" PRIx64, rng_entropy());
}

static void log_json(const struct exchange *exchange, double ms, uint64_t bytes_sent,
                     bool complete) {
    struct buffer line = {0};
    struct timespec now;
    struct tm utc;
    char stamp[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    buffer_printf(&line, "{\"time\":\"%s.%03ldZ\",\"request_id\":\"%s\",\"method\":", stamp,
                  now.tv_nsec / 1000000, exchange->id);
    json_append_text(&line, exchange->method);
    buffer_append_text(&line, ",\"path\":");
    json_append_text(&line, exchange->path);
    buffer_printf(&line, ",\"status\":%d,\"ms\":%.3f,\"bytes\":%" PRIu64 ",\"complete\":%s",
                  exchange->answer.http_status, ms, bytes_sent, complete ? "true" : "false");
    if (exchange->telling) {
        struct telling_summary summary = telling_summary(exchange->telling);
        buffer_printf(&line, ",\"prompt_tokens\":%d,\"completion_tokens\":%d,"
                             "\"finish_reason\":\"%s\"",
                      summary.prompt_tokens, summary.completion_tokens, summary.finish_reason);
    }
    buffer_append_text(&line, "}\n");
    if (!line.failed) {
        ssize_t ignored = write(STDERR_FILENO, line.data, line.size);
        (void)ignored; /* nowhere left to report to */
    }
    buffer_free(&line);
}

void exchange_log(const struct exchange *exchange, uint64_t bytes_sent, bool complete) {
    const struct options *options = &exchange->service->options;
    double ms = (double)(clock_now_ns() - exchange->started_ns) / 1e6;
    if (!options->access_log)
        return;
    if (strcmp(options->log_format, "json") == 0) {
        log_json(exchange, ms, bytes_sent, complete);
        return;
    }
    char story[96] = "";
    if (exchange->telling) {
        struct telling_summary summary = telling_summary(exchange->telling);
        snprintf(story, sizeof story, " %d+%d tokens %s", summary.prompt_tokens,
                 summary.completion_tokens, summary.finish_reason);
    }
    log_info("%s %s %d %.1f ms %" PRIu64 " bytes%s %s%s", exchange->method, exchange->path,
             exchange->answer.http_status, ms, bytes_sent, story, exchange->id,
             complete ? "" : " (cut off)");
}

void exchange_clear(struct exchange *exchange) {
    telling_free(exchange->telling);
    exchange->telling = NULL;
    buffer_free(&exchange->body);
    buffer_free(&exchange->answer.body);
}
