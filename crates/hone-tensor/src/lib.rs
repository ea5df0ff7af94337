//! Numbers: tensors, devices, ops forward and backward, CPU kernels, quantised blocks.
