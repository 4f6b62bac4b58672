//! Images written and read back, and images with bytes changed.
use super::header::config_offset;
use super::layout::TENSOR_ALIGN;
use super::*;
use crate::kernels::matmul::panel_len;
use crate::kernels::rope::{RopeConfig, RopeScaling};
use crate::memory::REGION_ALIGN;
use crate::model::config::FormatMix;
use crate::model::families::Architecture;
use crate::model::spec::{Activation, LayerFeatures, LayerKind, LayerNorms, LayerPattern, NormPlacement};
use std::string::ToString;
use std::vec;
use std::vec::Vec;

pub(super) fn config(format: WeightFormat, tied_head: bool, extras: bool) -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        vocab_size: 50,
        hidden_size: 48,
        intermediate_size: 70,
        layer_count: 3,
        head_count: 3,
        kv_head_count: 1,
        head_dim: 10,
        position_count: 128,
        rms_norm_eps: 1e-5,
        rope: RopeConfig {
            theta: 500_000.0,
            scaling: RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_positions: 64,
            },
        },
        tied_head,
        qkv_bias: extras,
        attention_output_bias: extras,
        mlp_bias: extras,
        qk_norm: extras,
        features: LayerFeatures::PLAIN,
        weight_format: format,
        head_format: format,
        mix: FormatMix::NONE,
    }
}

/// Memory that starts at a multiple of 64.
struct Memory {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Memory {
    fn new(len: usize) -> Memory {
        let bytes = vec![0; len + REGION_ALIGN];
        let start = bytes.as_ptr().align_offset(REGION_ALIGN);
        Memory { bytes, start, len }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[self.start..][..self.len]
    }

    fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..self.len]
    }
}

fn value(kind: TensorKind, layer: usize, row: usize, column: usize) -> f32 {
    // Small integers and halves: exact in bf16.
    ((kind as usize * 31 + layer * 7 + row * 3 + column) % 101) as f32 * 0.5 + 0.5
}

fn image(config: &ModelConfig) -> Memory {
    let layout = ImageLayout::new(config, &[("tokenizer.json", 5), ("empty", 0)]).unwrap();
    let mut memory = Memory::new(layout.total_bytes());
    let mut writer = ImageWriter::new(&layout, memory.get_mut()).unwrap();
    for TensorPlace { kind, layer, .. } in layout.tensors() {
        let layer = layer.unwrap_or(0);
        writer.fill(kind, layer, |row, column| value(kind, layer, row, column));
    }
    writer.aux_mut("tokenizer.json").unwrap().copy_from_slice(b"hello");
    writer.header(&[7; 32], 3);
    memory
}

const ALL: [(WeightFormat, bool, bool); 4] = [
    (WeightFormat::F32, true, false),
    (WeightFormat::F32, false, true),
    (WeightFormat::Bf16, true, true),
    (WeightFormat::Bf16, false, false),
];

#[test]
fn what_is_written_is_read() {
    for (format, tied, extras) in ALL {
        let config = config(format, tied, extras);
        let memory = image(&config);
        let model = PackedModel::parse(memory.get()).unwrap();
        assert_eq!(*model.config(), config);
        assert_eq!((model.source_hash(), model.flushed_count()), (&[7; 32], 3));
        assert_eq!(model.aux("tokenizer.json"), Some(&b"hello"[..]));
        assert_eq!((model.aux("empty"), model.aux("other")), (Some(&[][..]), None));
        let mut weight_bytes = 0;
        for i in 0..config.layer_count {
            let layer = model.layer(i);
            let check = |linear: &Linear, kind: TensorKind, row: usize, n: usize| {
                let mut column = vec![0.0; linear.inputs()];
                linear.read_column(n, &mut column);
                for (k, x) in column.iter().enumerate() {
                    assert_eq!(*x, value(kind, i, row, k), "{kind:?} [{row}, {k}]");
                }
                if let Some(bias) = linear.bias() {
                    let kind = match kind {
                        TensorKind::Qkv => TensorKind::QkvBias,
                        TensorKind::AttentionOutput => TensorKind::AttentionOutputBias,
                        TensorKind::GateUp => TensorKind::GateUpBias,
                        _ => TensorKind::DownBias,
                    };
                    assert_eq!(bias[n], value(kind, i, 0, row));
                }
            };
            for n in 0..config.qkv_size() {
                check(&layer.qkv, TensorKind::Qkv, n, n);
            }
            for n in 0..config.hidden_size {
                check(&layer.attention_output, TensorKind::AttentionOutput, n, n);
                check(&layer.down, TensorKind::Down, n, n);
                assert_eq!(layer.attention_norm[n], value(TensorKind::AttentionNorm, i, 0, n));
            }
            for n in 0..config.intermediate_size {
                check(&layer.gate_up, TensorKind::GateUp, n, n / 32 * 64 + n % 32);
                let up = config.intermediate_size + n;
                check(&layer.gate_up, TensorKind::GateUp, up, n / 32 * 64 + 32 + n % 32);
            }
            let mut padding = vec![1.0; config.hidden_size];
            layer.gate_up.read_column(2 * 96 - 1, &mut padding);
            assert!(padding.iter().all(|x| *x == 0.0));
            assert_eq!(layer.attention_norm.len(), 64);
            assert!(layer.feed_forward_norm[48..].iter().all(|x| *x == 0.0));
            assert_eq!(layer.q_norm.map(<[f32]>::len), extras.then_some(10));
            assert_eq!(layer.k_norm.is_some(), extras);
            assert_eq!(layer.down.bias().is_some(), extras);
            weight_bytes += layer.qkv.bytes() + layer.attention_output.bytes() + layer.gate_up.bytes();
            weight_bytes += layer.down.bytes() + 2 * 64 * 4;
            if extras {
                weight_bytes += (64 + 64 + 2 * 96 + 64 + 2 * 10) * 4;
            }
        }
        let outer = model.outer();
        let mut row = vec![0.0; 48];
        outer.head.read_column(49, &mut row);
        assert!((0..48).all(|k| row[k] == value(TensorKind::Head, 0, 49, k)));
        match outer.embedding {
            Embedding::Tied => assert!(tied),
            Embedding::F32(e) => {
                assert_eq!((e.len(), e[49 * 48 + 5]), (50 * 48, value(TensorKind::Embedding, 0, 49, 5)));
                weight_bytes += e.len() * 4;
            }
            Embedding::Bf16(e) => {
                assert_eq!(e[49 * 48 + 5].to_f32(), value(TensorKind::Embedding, 0, 49, 5));
                weight_bytes += e.len() * 2;
            }
        }
        assert_eq!(outer.head.bytes(), 2 * panel_len(format, 48) * format.element_bytes());
        assert_eq!(model.weight_bytes(), weight_bytes + outer.head.bytes() + 64 * 4);
    }
}

/// A configuration whose Q and K together are whole panels.
fn with_whole_panels(format: WeightFormat) -> ModelConfig {
    ModelConfig { head_count: 4, kv_head_count: 2, head_dim: 16, ..config(format, true, true) }
}

#[test]
fn products_of_a_mix_keep_their_formats() {
    use WeightFormat::{Bf16, Bf16x12, Int4, Int8};
    let mix = FormatMix { value: Some(Bf16x12), down: Some(Bf16x12), attention_output: None };
    let config = ModelConfig { mix, ..with_whole_panels(Bf16) };
    let memory = image(&config);
    let model = PackedModel::parse(memory.get()).unwrap();
    let formats = |linear: &Linear| -> Vec<_> {
        let segments = linear.segments().iter();
        segments.map(|segment| (segment.end - segment.first, segment.panels.format())).collect()
    };
    for i in 0..config.layer_count {
        let layer = model.layer(i);
        assert_eq!(formats(&layer.qkv), [(3, Bf16), (1, Bf16x12)]);
        assert_eq!(formats(&layer.down), [(2, Bf16x12)]);
        assert_eq!(formats(&layer.attention_output), [(2, Bf16)]);
        let mut column = vec![0.0; config.hidden_size];
        for n in 0..config.qkv_size() {
            layer.qkv.read_column(n, &mut column);
            let expected = |k: usize| value(TensorKind::Qkv, i, n, k);
            assert!((0..column.len()).all(|k| column[k] == expected(k)), "column {n}");
        }
    }
    let layers = config.layer_count * (model.layer(0).qkv.bytes() + model.layer(0).attention_output.bytes());
    let others = config.layer_count * (model.layer(0).gate_up.bytes() + model.layer(0).down.bytes());
    assert_eq!(config.row_weight_bytes(), layers + others + model.outer().head.bytes());

    let refused = |config: ModelConfig| ImageLayout::new(&config, &[]).unwrap_err().to_string();
    let mix = FormatMix { down: Some(Int8), ..FormatMix::NONE };
    let told = refused(ModelConfig { mix, ..with_whole_panels(Bf16) });
    assert!(told.contains("format mix must be formats of products whose activations"), "{told}");
    let mix = FormatMix { value: Some(Int8), ..FormatMix::NONE };
    let shared = ModelConfig { mix, head_dim: 10, ..with_whole_panels(Int4) };
    assert!(refused(shared).contains("where Q and K are no whole panels"));
    let same = ModelConfig { mix: FormatMix { value: Some(Int4), ..FormatMix::NONE }, ..shared };
    assert!(ImageLayout::new(&same, &[]).is_ok(), "no panel is shared");
}

#[test]
fn spans_are_aligned_ordered_and_apart() {
    let whole = [
        (WeightFormat::Int8, true, true),
        (WeightFormat::Int4, true, false),
        (WeightFormat::Int4, false, true),
    ];
    for (format, tied, extras) in ALL.into_iter().chain(whole) {
        let layout = ImageLayout::new(&config(format, tied, extras), &[("a", 1), ("b", 65)]).unwrap();
        let mut end = layout.directory_offset() + layout.tensor_count() * TENSOR_ENTRY_BYTES;
        let aux = layout.aux().map(|(_, span)| (span, REGION_ALIGN));
        let spans = aux.chain(layout.tensors().map(|tensor| (tensor.span, TENSOR_ALIGN)));
        let first = layout.tensors().next().unwrap().span.offset;
        assert_eq!(layout.head_bytes(), first, "the head ends where the tensors begin");
        let mut count = 0;
        for (span, align) in spans {
            assert!(span.offset >= end && span.offset < end + align && span.offset % align == 0);
            end = span.range().end;
            count += 1;
        }
        assert_eq!((end, count), (layout.total_bytes(), layout.tensor_count() + 2));
    }
}

#[test]
fn the_flush_is_counted() {
    let config = config(WeightFormat::Bf16, true, false);
    let layout = ImageLayout::new(&config, &[]).unwrap();
    let mut memory = Memory::new(layout.total_bytes());
    let mut writer = ImageWriter::new(&layout, memory.get_mut()).unwrap();
    writer.fill(TensorKind::Down, 1, |_, k| if k == 69 { 1e-30 } else { -0.0 });
    writer.header(&[0; 32], 0);
    assert_eq!(PackedModel::parse(memory.get()).unwrap().flushed_count(), 48);
}

#[test]
fn lies_are_named() {
    let config = config(WeightFormat::F32, true, false);
    let good = image(&config);
    let total = good.len;
    let message = |change: &dyn Fn(&mut [u8])| {
        let mut bad = Memory::new(total);
        bad.get_mut().copy_from_slice(good.get());
        change(bad.get_mut());
        PackedModel::parse(bad.get()).unwrap_err().to_string()
    };
    let put64 = |at: usize, x: u64| move |b: &mut [u8]| b[at..at + 8].copy_from_slice(&x.to_le_bytes());
    assert_eq!(message(&|b| b[0] = 0), "not an image: the first 8 bytes are not \"vbimage\\0\"");
    assert_eq!(
        message(&|b| b[header::FORMAT.offset] = 4),
        std::format!(
            "image header: format version: found 4, expected {FORMAT_VERSION}: pack the model again"
        )
    );
    assert_eq!(
        message(&|b| b[header::NUMERICS.offset + 3] = 1),
        std::format!(
            "image header: numerics version: found {}, expected {}",
            (1 << 24) + crate::NUMERICS_VERSION,
            crate::NUMERICS_VERSION
        )
    );
    assert_eq!(
        message(&put64(header::TOTAL_BYTES.offset, u64::MAX)),
        std::format!("image header: length in bytes: found {total}, expected {}", u64::MAX)
    );
    assert_eq!(
        message(&put64(config_offset("model_type"), 77)),
        "image header: model_type: found 77, which is unknown"
    );
    assert_eq!(message(&put64(config_offset("head_dim"), 9)), "image header: head_dim must be even");
    assert_eq!(
        message(&put64(config_offset("hidden_size"), 1 << 40)),
        "image header: hidden_size must be between 1 and 16777216"
    );
    assert_eq!(
        message(&put64(config_offset("weight format"), 99)),
        "image header: weight format: found 99, which is unknown"
    );
    assert_eq!(
        message(&|b| b[header::AUX_COUNT.offset] = 200),
        "image header: number of aux blobs: found 200, which is unknown"
    );
    assert_eq!(
        message(&|b| b[HEADER_BYTES] = 0xff),
        "image aux table: entry 0: expected a unique name of 1 to 48 bytes of UTF-8"
    );
    for lie in [0, HEADER_BYTES as u64 - 1, total as u64 + 1, u64::MAX] {
        assert_eq!(
            message(&put64(header::HEAD_BYTES.offset, lie)),
            std::format!("image header: length of the head in bytes: found {lie}, which is unknown")
        );
    }
    let head = header::HEAD_BYTES.number(good.get(), 0).unwrap();
    assert_eq!(
        message(&put64(header::HEAD_BYTES.offset, head + 64)),
        std::format!("image header: length of the head in bytes: found {}, expected {head}", head + 64)
    );
    let directory = HEADER_BYTES + 2 * AUX_ENTRY_BYTES;
    assert_eq!(
        message(&put64(directory + TENSOR_ENTRY_BYTES + header::TENSOR_BYTES.offset, 3)),
        std::format!("image directory: entry 1: bytes: found 3, expected {}", 2 * 48 * 32 * 4)
    );
    assert_eq!(
        message(&put64(directory + TENSOR_ENTRY_BYTES + header::TENSOR_EXPERT.offset, 0)),
        "image directory: entry 1: expert: found 0, expected 4294967295"
    );
    // Words that are no value of their field.
    for (field, word) in [
        ("tie_word_embeddings", 2),
        ("norms of heads", 1 << 32),
        ("rms_norm_eps", 1 << 32),
        ("rope_scaling", 2),
        ("layer pattern", 1 << 32),
        ("window of layer kind 0", 7),
        ("RoPE table of layer kind 1", 1 << 33),
        ("second rope_scaling.factor", 1),
        ("place of norms", 3),
        ("hidden_act", 2),
        ("gate of the feed-forward", 2),
        ("attention scale", 1),
        ("head format", 77),
    ] {
        assert_eq!(
            message(&put64(config_offset(field), word)),
            std::format!("image header: {field}: found {word}, which is unknown")
        );
    }
    // Layers that would lie beyond the end.
    let longer = message(&put64(config_offset("num_hidden_layers"), 1000));
    assert!(longer.starts_with(&std::format!("image header: length in bytes: found {total}, expected ")));
    // Other starts and lengths.
    let error = PackedModel::parse(&good.get()[4..]).unwrap_err().to_string();
    assert_eq!(error, "the image starts 4 bytes past a multiple of 64, expected a multiple of it");
    for len in 0..total {
        assert!(PackedModel::parse(&good.get()[..len]).is_err());
    }
    // An end within the table of aux blobs: what is missing of the entry.
    for len in HEADER_BYTES..HEADER_BYTES + 2 * AUX_ENTRY_BYTES {
        let mut cut = Memory::new(len);
        cut.get_mut().copy_from_slice(&good.get()[..len]);
        put64(header::TOTAL_BYTES.offset, len as u64)(cut.get_mut());
        put64(header::HEAD_BYTES.offset, HEADER_BYTES as u64)(cut.get_mut());
        let needed = HEADER_BYTES + ((len - HEADER_BYTES) / AUX_ENTRY_BYTES + 1) * AUX_ENTRY_BYTES;
        assert_eq!(
            PackedModel::parse(cut.get()).unwrap_err().to_string(),
            std::format!("image header: length in bytes: found {len}, expected {needed}")
        );
    }
}

#[test]
fn changed_bytes_never_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % bound
    };
    let mut survived = 0;
    for (format, tied, extras) in ALL {
        let good = image(&config(format, tied, extras));
        let tables = HEADER_BYTES + 2 * AUX_ENTRY_BYTES + 40 * TENSOR_ENTRY_BYTES;
        let mut bad = Memory::new(good.len);
        for _ in 0..10_000 {
            bad.get_mut().copy_from_slice(good.get());
            for _ in 0..1 + draw(3) {
                let within = if draw(4) == 0 { HEADER_BYTES } else { tables };
                let at = draw(within);
                let extreme = [0, 1, 0x7f, 0x80, 0xff][draw(5)];
                bad.get_mut()[at] = if draw(2) == 0 { extreme } else { draw(256) as u8 };
            }
            if let Ok(model) = PackedModel::parse(bad.get()) {
                survived += 1;
                for layer in 0..model.config().layer_count {
                    let weights = model.layer(layer);
                    assert_eq!(weights.attention_norm.len(), 64);
                }
                let _ = (model.outer(), model.aux("tokenizer.json"), model.weight_bytes());
            }
        }
    }
    // Changes to hashes and counts are no lie that parsing could know of.
    assert!(survived > 100 && survived < 39_000, "{survived}");
}

#[test]
fn sizes_that_overflow_are_refused() {
    let mut huge = config(WeightFormat::F32, false, true);
    (huge.hidden_size, huge.intermediate_size, huge.vocab_size) = (1 << 24, 1 << 24, 1 << 24);
    huge.layer_count = 1024;
    // 2^62 bytes: representable, so the layout says so; with an enormous blob it no longer is.
    let error = ImageLayout::new(&huge, &[("a", usize::MAX - 5)]).unwrap_err().to_string();
    assert_eq!(error, "image: an aux blob does not fit the address space");
    // The blob fits; the end of the head, at the next page, does not.
    let last = [("a", isize::MAX as usize - 2048)];
    let error = ImageLayout::new(&config(WeightFormat::F32, true, false), &last).unwrap_err().to_string();
    assert_eq!(error, "image: an aux blob does not fit the address space");
    let twice = ImageLayout::new(&huge, &[("a", 1), ("a", 1)]).unwrap_err();
    assert_eq!(twice, ImageError::AuxName { entry: 1, bytes_max: AUX_NAME_MAX });
}

/// Every field with a value that is not its default, as the header holds it.
#[test]
fn every_field_of_the_configuration_is_written_and_read() {
    let features = LayerFeatures {
        pattern: LayerPattern::EveryNth(6),
        kinds: [LayerKind { window: Some(128), rope: Some(1) }, LayerKind { window: Some(256), rope: None }],
        second_rope: RopeConfig {
            theta: 1e6,
            scaling: RopeScaling::Llama3 {
                factor: 2.0,
                low_freq_factor: 1.5,
                high_freq_factor: 3.0,
                original_positions: 77,
            },
        },
        norms: LayerNorms { placement: NormPlacement::Before, adds_one: true },
        attention_scale: Some(0.3),
        ..LayerFeatures::PLAIN
    };
    let mix =
        FormatMix { value: Some(WeightFormat::Bf16x12), down: Some(WeightFormat::Bf16), ..FormatMix::NONE };
    let written = ModelConfig { features, mix, ..with_whole_panels(WeightFormat::Bf16) };
    let mut header_bytes = vec![0; HEADER_BYTES];
    header::put_config(&mut header_bytes, &written);
    assert_eq!(header::config(&header_bytes), Some(Ok(written)));
    assert!(header::config(&header_bytes[..HEADER_BYTES / 2]).is_none());
}

/// What the forward pass does not implement is refused by the field's name, in an image too.
#[test]
fn what_is_not_implemented_is_refused_by_name() {
    let plain = LayerFeatures::PLAIN;
    let window = |window| [LayerKind { window: Some(window), ..plain.kinds[0] }; 2];
    let table = |table| [plain.kinds[0], LayerKind { rope: Some(table), ..plain.kinds[1] }];
    let norms = |placement| LayerNorms { placement, adds_one: false };
    for (features, message) in [
        (
            LayerFeatures { kinds: window(127), ..plain },
            "sliding_window must be null or at least max_position_embeddings: a narrower window is not \
             implemented",
        ),
        (LayerFeatures { kinds: table(2), ..plain }, "rope table must be 0, 1 or none"),
        (
            LayerFeatures { soft_cap: Some(50.0), ..plain },
            "attn_logit_softcapping must be null: soft-capped scores are not implemented",
        ),
        (LayerFeatures { activation: Activation::GeluTanh, ..plain }, "hidden_act must be \"silu\""),
        (
            LayerFeatures { gate: false, ..plain },
            "feed-forward must be gated: one without a gate is not implemented",
        ),
        (
            LayerFeatures { norms: norms(NormPlacement::After), ..plain },
            "norms must be before attention and feed-forward: norms after them are not implemented",
        ),
        (
            LayerFeatures { norms: norms(NormPlacement::Both), ..plain },
            "norms must be before attention and feed-forward: norms after them are not implemented",
        ),
        (
            LayerFeatures { attention_scale: Some(f32::NAN), ..plain },
            "attention scale must be finite and above 0",
        ),
        (
            LayerFeatures { pattern: LayerPattern::EveryNth(0), ..plain },
            "layer pattern must be every layer of at least 1",
        ),
        (
            LayerFeatures { second_rope: RopeConfig { theta: 0.0, ..plain.second_rope }, ..plain },
            "rope_theta must be finite and above 0",
        ),
    ] {
        let refused = ModelConfig { features, ..config(WeightFormat::F32, true, false) };
        let error = ImageLayout::new(&refused, &[]).unwrap_err().to_string();
        assert_eq!(error, std::format!("image header: {message}"));
    }
    let wide = ModelConfig {
        features: LayerFeatures { kinds: window(128), ..plain },
        ..config(WeightFormat::F32, true, false)
    };
    assert!(ImageLayout::new(&wide, &[]).is_ok(), "a window of the whole context changes nothing");
}

#[test]
fn products_wider_than_a_format_can_hold_are_refused() {
    let wide = |format, inputs| {
        let config = ModelConfig { intermediate_size: inputs, ..config(format, false, false) };
        ImageLayout::new(&config, &[]).map(|_| ()).map_err(|error| error.to_string())
    };
    for (format, inputs_max) in [
        (WeightFormat::Int8, 1 << 16),
        (WeightFormat::Int4, 1 << 16),
        (WeightFormat::Int5, 1 << 16),
        (WeightFormat::Int6, 1 << 16),
        // One more pair, and escapes could name the pair that says that there are none.
        (WeightFormat::Bf16x12, (1 << 19) - 4),
    ] {
        assert_eq!(wide(format, inputs_max), Ok(()), "{format:?}");
        let error = wide(format, inputs_max + 1).unwrap_err();
        assert!(error.contains("intermediate_size") && error.contains(&inputs_max.to_string()), "{error}");
    }
    assert_eq!(wide(WeightFormat::Bf16, 1 << 20), Ok(()));
}
