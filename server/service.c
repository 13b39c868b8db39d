#include "server/service.h"

#include "base/clock.h"

#define ENGINE_PULSE_NS 1000000000u

enum status service_has_room(struct service *service, struct error *err) {
    if (atomic_load(&service->stopping))
        return error_set(err, STATUS_STOPPED, "the server is shutting down");
    if (!scheduler_has_room(service->engine.scheduler, QUEUE_ALL))
        return error_set(err, STATUS_BUSY, "all places are taken; try again in a moment");
    return STATUS_OK;
}

enum status service_ready(struct service *service, struct error *err) {
    enum status status = service_has_room(service, err);
    if (status != STATUS_OK)
        return status;
    struct scheduler_stats stats = scheduler_stats(service->engine.scheduler);
    uint64_t now = clock_now_ns();
    bool works = stats.idle || now < stats.last_step_ns + ENGINE_PULSE_NS;
    return works ? STATUS_OK
                 : error_set(err, STATUS_BUSY, "the engine has made no step for over a second");
}
