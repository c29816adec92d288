//! Any bytes at all are an event or a refusal: what `property.rs` says, searched by libFuzzer.
//!
//! `cargo +nightly fuzz run decode fuzz/corpus/decode fuzz/seeds -- -timeout=1 -max_total_time=600`

#![no_main]
#![allow(dead_code)] // parts of the application without the rest of it

#[path = "../../src/decimal/mod.rs"]
mod decimal;
#[path = "../../src/source/decode.rs"]
mod decode;
#[path = "../../src/source/decoder.rs"]
mod decoder;
#[path = "../../src/source/fields.rs"]
mod fields;
#[path = "../../src/source/filled.rs"]
mod filled;
#[path = "../../src/instant.rs"]
mod instant;
#[path = "../../src/kind.rs"]
mod kind;
#[path = "../../src/limits.rs"]
mod limits;
#[path = "../../src/source/plain.rs"]
mod plain;
mod property;
mod source {
    pub(crate) use crate::{decode, decoder, fields};
}
#[path = "../../src/source/template/mod.rs"]
mod template;
#[path = "../../src/source/together.rs"]
mod together;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    property::holds(bytes);
    // Either half may be what is learned, and the other what is read then.
    let (learned, read) = bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0));
    property::agrees(&[learned], read);
});
