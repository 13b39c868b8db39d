#include "tests/support/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

static const struct model_config tiny = {
    .d_model = 32, .heads = 4, .d_ff = 64, .layers = 2, .vocab = VOCAB, .positions = POSITIONS,
    .norm_eps = 1e-5f, .unk_id = 0, .bos_id = 1, .eos_id = EOS, .pad_id = 3,
};

static struct model *model;

int client_setup(void **state) {
    (void)state;
    if (model_create(&model, &tiny, NULL) != STATUS_OK)
        return 1;
    model_initialize(model, 5);
    return 0;
}

int client_teardown(void **state) {
    (void)state;
    model_destroy(model);
    return 0;
}

struct model *client_model(void) {
    return model;
}

void client_set_eos_bias(float bias) {
    model->parameters.head_bias[EOS] = bias;
}

struct scheduler *client_scheduler(int slots, int queue, int threads, int prefill_chunk) {
    struct scheduler_options options = {
        .slots = slots, .queue = queue, .threads = threads, .prefill_chunk = prefill_chunk};
    struct scheduler *scheduler;
    struct error err = {0};
    if (scheduler_create(&scheduler, model, &options, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return scheduler;
}

void client_on_output(void *context, enum finish_reason finish, uint64_t gap_ns) {
    struct client *client = context;
    (void)finish, (void)gap_ns;
    pthread_mutex_lock(&client->lock);
    client->inside = true;
    if (++client->outputs == 1 && client->watched)
        client->watched_tokens = request_usage(client->watched).completion_tokens;
    if (client->outputs == client->cancel_after)
        request_cancel(client->request);
    pthread_cond_broadcast(&client->changed);
    while (client->gated)
        pthread_cond_wait(&client->changed, &client->lock);
    client->inside = false;
    pthread_mutex_unlock(&client->lock);
    if (client->delay_ns)
        nanosleep(&(struct timespec){.tv_nsec = client->delay_ns}, NULL);
}

void client_init(struct client *client, bool gated) {
    *client = (struct client){.gated = gated};
    pthread_mutex_init(&client->lock, NULL);
    pthread_cond_init(&client->changed, NULL);
}

void client_open_gate(struct client *client) {
    pthread_mutex_lock(&client->lock);
    client->gated = false;
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->lock);
}

void client_wait_for_output(struct client *client, int outputs) {
    pthread_mutex_lock(&client->lock);
    while (client->outputs < outputs)
        pthread_cond_wait(&client->changed, &client->lock);
    pthread_mutex_unlock(&client->lock);
}

struct request_output client_collect(struct client *client) {
    for (int seen = 0;;) {
        pthread_mutex_lock(&client->lock);
        int outputs = client->outputs;
        pthread_mutex_unlock(&client->lock);
        struct request_output output = request_output(client->request);
        if (output.finish != FINISH_NONE)
            return output;
        if (outputs == seen)
            client_wait_for_output(client, ++outputs);
        seen = outputs;
    }
}

struct story story_of(int prompt_count, int max_tokens) {
    struct story story = {.prompt_count = prompt_count, .max_tokens = max_tokens};
    story.sampling = sampling_defaults();
    for (int i = 0; i < prompt_count; i++)
        story.prompt[i] = 4 + i % (VOCAB - 4);
    return story;
}

struct request_params story_params(const struct story *story, struct client *client) {
    return (struct request_params){.prompt = story->prompt,
                                   .prompt_count = story->prompt_count,
                                   .max_tokens = story->max_tokens,
                                   .sampling = story->sampling,
                                   .on_output = client ? client_on_output : NULL,
                                   .context = client};
}

enum status story_submit(struct scheduler *scheduler, const struct story *story,
                          struct client *client, bool gated) {
    client_init(client, gated);
    struct request_params params = story_params(story, client);
    /* Held, so that on_output finds `request` set. */
    pthread_mutex_lock(&client->lock);
    enum status status = scheduler_submit(scheduler, &params, &client->request, NULL);
    pthread_mutex_unlock(&client->lock);
    return status;
}
