/* safetensors_internal.h - what model/safetensors_*.c share: constants, which nobody owns and any
 * thread may read. */
#ifndef ALPACA_MODEL_SAFETENSORS_INTERNAL_H
#define ALPACA_MODEL_SAFETENSORS_INTERNAL_H

#include "model/safetensors.h"

enum {
    SAFETENSORS_LENGTH_BYTES = 8, /* of the field with the header's length, little-endian */
    /* A hundred times what any model of ours needs. cJSON takes some 40 bytes per header byte. */
    SAFETENSORS_HEADER_BYTES_MAX = 4 << 20,
};

#endif
