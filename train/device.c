#include "train/device.h"

#include <string.h>

#ifdef ALPACA_CUDA
#include "train/cuda/cuda_device.h"
static const struct device_kind *const kinds[] = {&cuda_device};
enum { KINDS = 1 };
#else
static const struct device_kind *const *const kinds = NULL;
enum { KINDS = 0 };
#endif

enum status device_find(const char *name, const struct device_kind **kind, struct error *err) {
    *kind = NULL;
    if (!name || strcmp(name, "cpu") == 0)
        return STATUS_OK;
    for (int i = 0; i < KINDS; i++)
        if (strcmp(name, kinds[i]->name) == 0) {
            *kind = kinds[i];
            return STATUS_OK;
        }
    return error_set_field(err, STATUS_INVALID, "device",
                           "--device must be " DEVICE_NAMES ", not \"%s\"", name);
}
