//! GGUF's numbers for the types of tensors.

use hone_tensor::Format;

use super::Malformed;

/// The types Hone reads, by their numbers in the file.
const READ: [(u32, Format); 15] = [
    (0, Format::F32),
    (1, Format::F16),
    (30, Format::Bf16),
    (2, Format::Q4_0),
    (3, Format::Q4_1),
    (6, Format::Q5_0),
    (7, Format::Q5_1),
    (8, Format::Q8_0),
    (20, Format::Iq4Nl),
    (10, Format::Q2K),
    (11, Format::Q3K),
    (12, Format::Q4K),
    (13, Format::Q5K),
    (14, Format::Q6K),
    (15, Format::Q8K),
];

/// The types it only knows by name.
const NAMED: [(u32, &str); 19] = [
    (9, "Q8_1"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

pub(super) fn format_of(id: u32, name: &str) -> Result<Format, Malformed> {
    READ.iter()
        .find(|row| row.0 == id)
        .map(|row| row.1)
        .ok_or_else(|| Malformed::TensorType {
            name: name.to_owned(),
            found: NAMED
                .iter()
                .find(|row| row.0 == id)
                .map_or_else(|| format!("type {id}"), |row| row.1.to_owned()),
            known: READ.map(|row| row.1.name()).join(", "),
        })
}

/// The number of a format, when GGUF has it.
pub(super) fn id_of(format: Format) -> Option<u32> {
    READ.iter().find(|row| row.1 == format).map(|row| row.0)
}
