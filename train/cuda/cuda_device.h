/* cuda_device.h - training and evaluating on an NVIDIA card; see train/device.h, also for ownership
 * and threads.
 *
 * Everything runs on one stream, with sums in an order that depends on the shapes alone and
 * cuBLASLt's choice of algorithm kept for each shape: the same card, seed and stories give the same
 * bits.
 */
#ifndef ALPACA_TRAIN_CUDA_CUDA_DEVICE_H
#define ALPACA_TRAIN_CUDA_CUDA_DEVICE_H

#include "train/device.h"

extern const struct device_kind cuda_device;

#endif
