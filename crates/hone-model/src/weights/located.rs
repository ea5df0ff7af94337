//! A tensor where it lies: its file, its type and shape, and its bytes in the map of the file.

use std::path::PathBuf;

use hone_tensor::Bytes;
use safetensors::tensor::TensorInfo;

/// A tensor where it lies.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub path: PathBuf,
    pub info: TensorInfo,
    pub bytes: Bytes,
}
