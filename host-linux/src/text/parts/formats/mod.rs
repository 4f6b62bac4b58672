//! The ways to write calls: a file each, which says what marks a call and which machine reads it.
pub(super) mod gemma;
pub(super) mod hermes;
pub(super) mod llama;
pub(super) mod mistral;
pub(super) mod phi;
pub(super) mod pythonic;
pub(super) mod qwen_coder;
