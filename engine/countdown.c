#include "engine/countdown.h"

void countdown_init(struct countdown *countdown) {
    pthread_mutex_init(&countdown->lock, NULL);
    pthread_cond_init(&countdown->changed, NULL);
    countdown->ended = 0;
}

void countdown_destroy(struct countdown *countdown) {
    pthread_cond_destroy(&countdown->changed);
    pthread_mutex_destroy(&countdown->lock);
}

void countdown_on_output(void *context, enum finish_reason finish, uint64_t gap_ns) {
    struct countdown *countdown = context;
    (void)gap_ns;
    if (finish == FINISH_NONE)
        return;
    pthread_mutex_lock(&countdown->lock);
    countdown->ended++;
    pthread_cond_signal(&countdown->changed);
    pthread_mutex_unlock(&countdown->lock);
}

void countdown_await(struct countdown *countdown, int count) {
    pthread_mutex_lock(&countdown->lock);
    while (countdown->ended < count)
        pthread_cond_wait(&countdown->changed, &countdown->lock);
    pthread_mutex_unlock(&countdown->lock);
}
