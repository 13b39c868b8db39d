#include "engine/completion.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Locking: `lock` guards the part that the scheduler's thread touches through
 * on_generation_news(). It is never held while calling generation_release()
 * or scheduler_submit(), which may wait for that very callback. */
struct story {
    pthread_mutex_t lock;
    struct generation *generation; /* NULL until submit has returned */
    int32_t *ids;                  /* [capacity] taken from the generation */
    int count, capacity;
    enum finish finish;
    bool every_token;
    void (*on_news)(void *context, bool over);
    void *context;
    void (*on_gap)(void *gap_context, uint64_t gap_ns, int tokens);
    void *gap_context;
    uint64_t last_ns; /* when the last token came; 0: none yet */

    /* The owner's part. */
    int decoded; /* ids turned into text */
    struct text_stream stream;
    struct buffer text;
    size_t certain; /* bytes of text that no stop string can take back */
    struct story_token *tokens; /* [capacity] `decoded` of them valid; NULL without logprobs */
    bool cut; /* by a stop string */
    char *stops[STORY_MAX_STOPS];
    size_t stop_bytes[STORY_MAX_STOPS];
    int stop_count;
    enum story_end end;
};

const char *story_end_name(enum story_end end) {
    switch (end) {
    case STORY_RUNNING: return "running";
    case STORY_STOP: return "stop";
    case STORY_LENGTH: return "length";
    case STORY_CANCELLED: return "cancelled";
    case STORY_SHUTDOWN: return "shutdown";
    }
    return "unknown";
}

bool story_continues(const char *prompt, size_t bytes) {
    return bytes > 0 && !strchr(" \t\r\n\v\f", prompt[bytes - 1]);
}

/* Under the lock. Tokens that came together share the time. */
static void measure(struct story *story, int tokens) {
    if (!story->on_gap || tokens == 0)
        return;
    uint64_t now_ns = clock_now_ns();
    if (story->last_ns)
        story->on_gap(story->gap_context, (now_ns - story->last_ns) / (uint64_t)tokens, tokens);
    story->last_ns = now_ns;
}

/* Under the lock. Returns whether anything came. */
static bool pull(struct story *story) {
    int before = story->count;
    if (!story->generation || story->finish != FINISH_NONE)
        return false;
    while (story->finish == FINISH_NONE) {
        int room = story->capacity - story->count;
        int taken = generation_take(story->generation, story->ids + story->count, room,
                                    &story->finish);
        story->count += taken;
        if (taken == 0)
            break;
    }
    measure(story, story->count - before);
    return story->count > before || story->finish != FINISH_NONE;
}

/* On the scheduler's thread. Before submit has returned there is nothing to pull from; story_start
 * pulls then. */
static void on_generation_news(void *context) {
    struct story *story = context;
    pthread_mutex_lock(&story->lock);
    bool news = pull(story);
    bool over = story->finish != FINISH_NONE;
    bool wake = news && (story->every_token || over);
    pthread_mutex_unlock(&story->lock);
    if (wake && story->on_news)
        story->on_news(story->context, over);
}

static enum status copy_stops(struct story *story, const struct story_request *request,
                              struct error *err) {
    for (int i = 0; i < request->stop_count; i++) {
        story->stops[i] = strdup(request->stops[i]);
        if (!story->stops[i])
            return error_set(err, STATUS_NO_MEMORY, "no memory for a story");
        story->stop_bytes[i] = strlen(request->stops[i]);
        story->stop_count = i + 1;
    }
    return STATUS_OK;
}

enum status story_start(struct story **out, struct engine *engine,
                        const struct story_request *request, struct error *err) {
    struct generation *generation = NULL;
    int room = engine->model->config.positions - (int)request->prompt->count;
    struct story *story = calloc(1, sizeof *story);
    if (!story)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a story");
    pthread_mutex_init(&story->lock, NULL);
    /* One id more than can come, so that a take always has room to report the end. */
    story->capacity = (request->max_tokens < room ? request->max_tokens : room) + 1;
    story->ids = calloc((size_t)story->capacity, sizeof *story->ids);
    if (request->logprobs)
        story->tokens = calloc((size_t)story->capacity, sizeof *story->tokens);
    story->on_news = request->on_news;
    story->context = request->context;
    story->on_gap = request->on_gap;
    story->gap_context = request->gap_context;
    story->every_token = request->every_token || request->stop_count > 0;
    text_stream_start(&story->stream, engine->tokenizer, request->continues);
    enum status status = STATUS_OK;
    if (!story->ids || (request->logprobs && !story->tokens))
        status = error_set(err, STATUS_NO_MEMORY, "no memory for a story");
    if (status == STATUS_OK)
        status = copy_stops(story, request, err);
    if (status != STATUS_OK)
        goto fail;

    struct generation_request wanted = {
        .prompt = request->prompt->ids,
        .prompt_count = (int)request->prompt->count,
        .max_tokens = request->max_tokens,
        .sampling = request->sampling,
        .logprobs = request->logprobs,
        .top_logprobs = request->top_logprobs,
        .prompt_logprobs = request->prompt_logprobs,
        .on_news = on_generation_news,
        .context = story,
    };
    status = scheduler_submit(engine->scheduler, &wanted, &generation, err);
    if (status != STATUS_OK)
        goto fail;
    pthread_mutex_lock(&story->lock);
    story->generation = generation;
    pull(story);
    pthread_mutex_unlock(&story->lock);
    *out = story;
    return STATUS_OK;
fail:
    story_free(story);
    return status;
}

/* The earliest stop string that ends in text[from..]; its offset, or the text's size. */
static size_t find_stop(const struct story *story, size_t from) {
    size_t earliest = story->text.size;
    for (int i = 0; i < story->stop_count; i++) {
        size_t length = story->stop_bytes[i];
        size_t at = from >= length ? from - length + 1 : 0;
        for (; at + length <= story->text.size && at < earliest; at++)
            if (memcmp(story->text.data + at, story->stops[i], length) == 0)
                earliest = at;
    }
    return earliest;
}

/* How many bytes at the end of the text begin some stop string. */
static size_t possible_stop(const struct story *story) {
    size_t most = 0;
    for (int i = 0; i < story->stop_count; i++) {
        size_t length = story->stop_bytes[i] - 1;
        if (length > story->text.size)
            length = story->text.size;
        for (; length > most; length--)
            if (memcmp(story->text.data + story->text.size - length, story->stops[i], length) == 0)
                most = length;
    }
    return most;
}

/* Cuts the text at a stop string that ends in its new part; true when there is one. */
static bool apply_stops(struct story *story, size_t new_from) {
    if (story->stop_count == 0) {
        story->certain = story->text.size;
        return false;
    }
    size_t stop = find_stop(story, new_from);
    if (stop < story->text.size) {
        story->text.size = stop;
        story->text.data[stop] = '\0';
        story->certain = stop;
        story->cut = true;
        return true;
    }
    story->certain = story->text.size - possible_stop(story);
    return false;
}

static enum story_end end_of(enum finish finish) {
    switch (finish) {
    case FINISH_NONE: return STORY_RUNNING;
    case FINISH_STOP: return STORY_STOP;
    case FINISH_LENGTH: return STORY_LENGTH;
    case FINISH_CANCELLED: return STORY_CANCELLED;
    case FINISH_SHUTDOWN: return STORY_SHUTDOWN;
    }
    return STORY_CANCELLED;
}

/* Decodes ids up to `count`, token by token: a story's text may not depend on how many tokens
 * came at once, and a stop string decides which token was the last. */
static enum status decode(struct story *story, int count, struct error *err) {
    while (story->decoded < count && story->end == STORY_RUNNING) {
        size_t before = story->text.size;
        struct story_token token = {.id = story->ids[story->decoded],
                                    .at_start = story->stream.at_start};
        enum status status = text_stream_push(&story->stream, token.id, &story->text, err);
        if (status != STATUS_OK)
            return status;
        token.begins = story->stream.begins;
        if (story->tokens)
            story->tokens[story->decoded] = token;
        story->decoded++;
        if (apply_stops(story, before)) {
            story->end = STORY_STOP;
            story_cancel(story); /* the rest is not wanted */
        }
    }
    return STATUS_OK;
}

enum status story_advance(struct story *story, enum story_end *end, struct error *err) {
    pthread_mutex_lock(&story->lock);
    pull(story);
    int count = story->count; /* ids below count never change again */
    enum finish finish = story->finish;
    pthread_mutex_unlock(&story->lock);

    enum status status = decode(story, count, err);
    if (status == STATUS_OK && story->end == STORY_RUNNING && finish != FINISH_NONE) {
        size_t before = story->text.size;
        status = text_stream_finish(&story->stream, &story->text, err);
        story->end = apply_stops(story, before) ? STORY_STOP : end_of(finish);
        story->certain = story->text.size;
    }
    if (status == STATUS_OK && story->text.failed)
        status = error_set(err, STATUS_NO_MEMORY, "no memory for the story's text");
    if (status != STATUS_OK)
        story_cancel(story);
    *end = story->end;
    return status;
}

const char *story_text(const struct story *story, size_t *bytes) {
    *bytes = story->certain;
    return story->text.data ? story->text.data : "";
}

int story_tokens(const struct story *story) {
    return story->decoded;
}

int story_listed(const struct story *story) {
    int count = story->decoded;
    bool all = story->end != STORY_RUNNING && !story->cut;
    while (count > 0 && !all && story->tokens[count - 1].begins >= story->certain)
        count--;
    return count;
}

struct story_token story_token(const struct story *story, int index) {
    struct story_token token = story->tokens[index];
    token.logprobs = generation_logprobs(story->generation, index);
    return token;
}

const struct token_logprobs *story_prompt_logprobs(const struct story *story, int place) {
    return generation_prompt_logprobs(story->generation, place);
}

struct generation_usage story_usage(const struct story *story) {
    return generation_usage(story->generation);
}

void story_cancel(struct story *story) {
    generation_cancel(story->generation);
}

void story_free(struct story *story) {
    if (!story)
        return;
    if (story->generation)
        generation_release(story->generation);
    for (int i = 0; i < story->stop_count; i++)
        free(story->stops[i]);
    free(story->ids);
    free(story->tokens);
    buffer_free(&story->text);
    pthread_mutex_destroy(&story->lock);
    free(story);
}
