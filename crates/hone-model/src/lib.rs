//! Networks: architectures, weight formats, adapters, generation.
