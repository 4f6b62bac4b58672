//! The layout of an image: every offset, computed from the configuration and the sizes of the aux
//! blobs alone.
//!
//! All layers have the same tensors, so a layer is an offset times its number: the layout needs no
//! memory that grows with the model. Every sum and product is checked.
use super::super::config::ModelConfig;
use super::super::spec::HeadNorms;
use super::error::ImageError;
use super::header::{
    AUX_ENTRY_BYTES, AUX_MAX, AUX_NAME_MAX, HEADER_BYTES, NONE, Place, TENSOR_BYTES, TENSOR_ENTRY_BYTES,
    TENSOR_EXPERT, TENSOR_KIND, TENSOR_LAYER, TENSOR_OFFSET,
};
use crate::dtype::WeightFormat;
use crate::kernels::matmul::linear::SEGMENTS_MAX;
use crate::kernels::matmul::panel::{PANEL, panel_count};
use crate::kernels::matmul::panel_len;
use crate::memory::REGION_ALIGN;
use crate::tensor::padded;
use core::ops::Range;

/// The tensors of an image. The names are those of the fields in `model::weights`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs)] // the names are the documentation
pub enum TensorKind {
    Embedding = 0,
    AttentionNorm = 1,
    Qkv = 2,
    QkvBias = 3,
    QNorm = 4,
    KNorm = 5,
    AttentionOutput = 6,
    AttentionOutputBias = 7,
    FeedForwardNorm = 8,
    GateUp = 9,
    GateUpBias = 10,
    Down = 11,
    DownBias = 12,
    FinalNorm = 13,
    Head = 14,
}

/// How a tensor is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Panels of a product with that many outputs and inputs, in the formats of the tensor's
    /// [segments](TensorKind::segments).
    Panels {
        /// N, padded outputs of paired panels included.
        outputs: usize,
        /// K: elements of a column.
        inputs: usize,
    },
    /// `[rows, width]` in the format that the model's weight format has for rows.
    Rows {
        /// Rows of the table.
        rows: usize,
        /// Elements of a row.
        width: usize,
    },
    /// `[len]`, f32; of these `padded` with zeros.
    Vector {
        /// Elements that the model has.
        len: usize,
        /// Elements with the zeros behind them.
        padded: usize,
    },
}

/// Panels of a tensor that lie next to each other in one format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentPlace {
    /// Outputs of the segment: whole panels, but for those of a tensor's last.
    pub outputs: usize,
    /// How its panels are stored.
    pub format: WeightFormat,
    /// Its bytes from the start of the tensor.
    pub span: Span,
}

impl SegmentPlace {
    /// Bytes of one of its panels, of `inputs` inputs.
    pub fn panel_bytes(&self, inputs: usize) -> usize {
        panel_len(self.format, inputs) * self.format.element_bytes()
    }

    /// The segment of that many outputs behind another; `None` if its bytes overflow.
    fn behind(before: Span, (outputs, format): (usize, WeightFormat), inputs: usize) -> Option<Self> {
        let panel = panel_len(format, inputs).checked_mul(format.element_bytes())?;
        let bytes = panel.checked_mul(panel_count(outputs))?;
        let offset = before.offset.checked_add(before.bytes)?;
        offset.checked_add(bytes)?;
        Some(Self { outputs, format, span: Span { offset, bytes } })
    }
}

// Tensors before the layers, of each layer, and after them.
const BEFORE: [TensorKind; 1] = [TensorKind::Embedding];
const LAYER: [TensorKind; 12] = [
    TensorKind::AttentionNorm,
    TensorKind::Qkv,
    TensorKind::QkvBias,
    TensorKind::QNorm,
    TensorKind::KNorm,
    TensorKind::AttentionOutput,
    TensorKind::AttentionOutputBias,
    TensorKind::FeedForwardNorm,
    TensorKind::GateUp,
    TensorKind::GateUpBias,
    TensorKind::Down,
    TensorKind::DownBias,
];
const AFTER: [TensorKind; 2] = [TensorKind::FinalNorm, TensorKind::Head];
const KIND_COUNT: usize = BEFORE.len() + LAYER.len() + AFTER.len();

impl TensorKind {
    /// How the model stores it; `None` if the model has none.
    pub fn storage(self, config: &ModelConfig) -> Option<Storage> {
        let c = config;
        // All layers have the same tensors.
        let layer = c.layer(0);
        let (attention, feed_forward) = (layer.attention, layer.feed_forward);
        let panels = |outputs, inputs| Some(Storage::Panels { outputs, inputs });
        let vector = |there: bool, len: usize| there.then(|| Storage::Vector { len, padded: padded(len) });
        let head_norm = match attention.head_norms {
            HeadNorms::None => None,
            HeadNorms::EachHead => {
                Some(Storage::Vector { len: attention.head_dim, padded: attention.head_dim })
            }
        };
        // Gate and up panels alternate, so each is padded to whole panels by itself.
        let gate_up = 2 * padded(feed_forward.width);
        match self {
            Self::Embedding => {
                (!c.tied_head).then_some(Storage::Rows { rows: c.vocab_size, width: c.hidden_size })
            }
            Self::AttentionNorm | Self::FeedForwardNorm | Self::FinalNorm => vector(true, c.hidden_size),
            Self::Qkv => panels(attention.qkv_size(), c.hidden_size),
            Self::QkvBias => vector(attention.qkv_bias, attention.qkv_size()),
            Self::QNorm | Self::KNorm => head_norm,
            Self::AttentionOutput => panels(c.hidden_size, attention.q_size()),
            Self::AttentionOutputBias => vector(attention.output_bias, c.hidden_size),
            Self::GateUp => panels(gate_up, c.hidden_size),
            Self::GateUpBias => vector(feed_forward.bias, gate_up),
            Self::Down => panels(c.hidden_size, feed_forward.width),
            Self::DownBias => vector(feed_forward.bias, c.hidden_size),
            Self::Head => panels(c.vocab_size, c.hidden_size),
        }
    }

    /// Outputs and format of the segments of a tensor that is stored as panels: one, or two where
    /// the values have a format of their own.
    fn parts(self, config: &ModelConfig, outputs: usize) -> [Option<(usize, WeightFormat)>; SEGMENTS_MAX] {
        let base = config.weight_format;
        let [value, attention_output, down] = config.mix.formats(base);
        let one = |format| [Some((outputs, format)), None, None];
        match self {
            Self::Qkv if value != base => {
                let values = config.kv_size();
                [Some((outputs - values, base)), Some((values, value)), None]
            }
            Self::AttentionOutput => one(attention_output),
            Self::Down => one(down),
            Self::Head => one(config.head_format),
            _ => one(base),
        }
    }

    /// The segments of a tensor that is stored as panels, in order; none of other tensors.
    pub fn segments(self, config: &ModelConfig) -> impl Iterator<Item = SegmentPlace> {
        let (parts, inputs) = match self.storage(config) {
            Some(Storage::Panels { outputs, inputs }) => (self.parts(config, outputs), inputs),
            _ => ([None; SEGMENTS_MAX], 0),
        };
        let mut before = Span::NONE;
        parts.into_iter().flatten().map_while(move |part| {
            let segment = SegmentPlace::behind(before, part, inputs)?;
            before = segment.span;
            Some(segment)
        })
    }

    /// Bytes of the tensor in an image; `None` if they overflow, or the model has none.
    fn bytes(self, config: &ModelConfig) -> Option<usize> {
        match self.storage(config)? {
            Storage::Panels { outputs, inputs } => {
                let mut before = Span::NONE;
                for part in self.parts(config, outputs).into_iter().flatten() {
                    before = SegmentPlace::behind(before, part, inputs)?.span;
                }
                Some(before.range().end)
            }
            Storage::Rows { rows, width } => {
                rows.checked_mul(width)?.checked_mul(config.weight_format.of_rows().element_bytes())
            }
            Storage::Vector { padded, .. } => padded.checked_mul(size_of::<f32>()),
        }
    }

    /// Whether it is the weight of an RMSNorm.
    pub fn is_norm(self) -> bool {
        use TensorKind::{AttentionNorm, FeedForwardNorm, FinalNorm, KNorm, QNorm};
        matches!(self, AttentionNorm | QNorm | KNorm | FeedForwardNorm | FinalNorm)
    }

    fn is_per_layer(self) -> bool {
        LAYER.contains(&self)
    }
}

/// A tensor of an image, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorPlace {
    /// Which of the model's tensors it is.
    pub kind: TensorKind,
    /// Its layer; `None` outside the layers.
    pub layer: Option<usize>,
    /// Its expert; `None` where the layer has no experts, which is everywhere today.
    pub expert: Option<usize>,
    /// The bytes that it takes.
    pub span: Span,
}

/// The numbers of a tensor's entry in the directory, by their places.
pub(super) fn directory_entry(tensor: &TensorPlace) -> [(Place, u64); 5] {
    let number = |index: Option<usize>| index.map_or(NONE, |index| index as u64);
    [
        (TENSOR_KIND, u64::from(tensor.kind as u32)),
        (TENSOR_LAYER, number(tensor.layer)),
        (TENSOR_EXPERT, number(tensor.expert)),
        (TENSOR_OFFSET, tensor.span.offset as u64),
        (TENSOR_BYTES, tensor.span.bytes as u64),
    ]
}

/// Which source row output `n` of the paired gate and up panels takes: whether it is an up row, and
/// its number, which may lie past the last (padding).
pub fn gate_up_source(n: usize) -> (bool, usize) {
    let panel = n / PANEL;
    (panel % 2 == 1, panel / 2 * PANEL + n % PANEL)
}

/// A run of bytes in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Bytes from the image's start.
    pub offset: usize,
    /// How many bytes there are.
    pub bytes: usize,
}

impl Span {
    const NONE: Span = Span { offset: 0, bytes: 0 };

    /// The bytes as a range from the image's start.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.bytes
    }
}

/// Every offset of an image.
#[derive(Clone, Debug)]
pub struct ImageLayout<'n> {
    config: ModelConfig,
    /// By kind; of a layer's kinds the span in layer 0; empty where the model has none.
    spans: [Span; KIND_COUNT],
    /// Bytes from one layer to the next.
    layer_stride: usize,
    aux: [(&'n str, Span); AUX_MAX],
    aux_count: usize,
    directory_offset: usize,
    tensor_count: usize,
    weight_bytes: usize,
    head_bytes: usize,
    total_bytes: usize,
}

/// Tensors begin at multiples of this, OS pages where the image begins at one: panels of whole KiB
/// (f32, bf16) then begin where a burst of fetches does (`micro::BURST_BYTES`).
pub(super) const TENSOR_ALIGN: usize = 4096;
const _: () = assert!(TENSOR_ALIGN.is_multiple_of(REGION_ALIGN));

/// The offset behind everything that was laid out so far.
struct Cursor(usize);

impl Cursor {
    /// Takes `bytes` at the next multiple of `align`.
    fn take(&mut self, bytes: Option<usize>, align: usize, what: &'static str) -> Result<Span, ImageError> {
        let taken = bytes.and_then(|bytes| {
            let offset = self.0.checked_next_multiple_of(align)?;
            let end = offset.checked_add(bytes).filter(|end| *end <= isize::MAX as usize)?;
            self.0 = end;
            Some(Span { offset, bytes })
        });
        taken.ok_or(ImageError::TooLarge { what })
    }
}

impl<'n> ImageLayout<'n> {
    /// Lays out an image with these aux blobs: name and bytes of each.
    pub fn new(config: &ModelConfig, aux: &[(&'n str, usize)]) -> Result<Self, ImageError> {
        config.check()?;
        if aux.len() > AUX_MAX {
            return Err(ImageError::Unknown { field: "number of aux blobs", found: aux.len() as u64 });
        }
        for (entry, (name, _)) in aux.iter().enumerate() {
            let unique = aux[..entry].iter().all(|(other, _)| other != name);
            if name.is_empty() || name.len() > AUX_NAME_MAX || name.contains('\0') || !unique {
                return Err(ImageError::AuxName { entry, bytes_max: AUX_NAME_MAX });
            }
        }
        let count = |kinds: &[TensorKind]| kinds.iter().filter(|kind| kind.storage(config).is_some()).count();
        let tensor_count = count(&BEFORE) + count(&LAYER) * config.layer_count + count(&AFTER);
        let directory_offset = HEADER_BYTES + aux.len() * AUX_ENTRY_BYTES;
        let mut cursor = Cursor(directory_offset + tensor_count * TENSOR_ENTRY_BYTES);

        let mut blobs = [("", Span::NONE); AUX_MAX];
        for (slot, (name, bytes)) in blobs.iter_mut().zip(aux) {
            *slot = (*name, cursor.take(Some(*bytes), REGION_ALIGN, "an aux blob")?);
        }
        let head_bytes = cursor.take(Some(0), TENSOR_ALIGN, "an aux blob")?.offset;

        let mut spans = [Span::NONE; KIND_COUNT];
        let mut lay = |kinds: &[TensorKind], cursor: &mut Cursor| -> Result<usize, ImageError> {
            let mut sum = 0_usize;
            for kind in kinds {
                if kind.storage(config).is_none() {
                    continue;
                }
                let span = cursor.take(kind.bytes(config), TENSOR_ALIGN, "a tensor")?;
                spans[*kind as usize] = span;
                sum = sum.checked_add(span.bytes).ok_or(ImageError::TooLarge { what: "a layer" })?;
            }
            Ok(sum)
        };
        let before = lay(&BEFORE, &mut cursor)?;
        let first = cursor.take(Some(0), TENSOR_ALIGN, "a layer")?.offset;
        let layer = lay(&LAYER, &mut cursor)?;
        let layer_stride = cursor.take(Some(0), TENSOR_ALIGN, "a layer")?.offset - first;
        let all_layers = layer_stride.checked_mul(config.layer_count);
        cursor.0 = first;
        cursor.take(all_layers, TENSOR_ALIGN, "all layers")?;
        let after = lay(&AFTER, &mut cursor)?;
        let weight_bytes = layer
            .checked_mul(config.layer_count)
            .and_then(|layers| layers.checked_add(before)?.checked_add(after))
            .ok_or(ImageError::TooLarge { what: "all layers" })?;

        Ok(ImageLayout {
            config: *config,
            spans,
            layer_stride,
            aux: blobs,
            aux_count: aux.len(),
            directory_offset,
            tensor_count,
            weight_bytes,
            head_bytes,
            total_bytes: cursor.0,
        })
    }

    /// The configuration that the layout was computed from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Bytes of the whole image.
    pub fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    /// Bytes before the first tensor.
    pub fn head_bytes(&self) -> usize {
        self.head_bytes
    }

    /// Bytes of all tensors.
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// How many tensors the image has, over all layers.
    pub fn tensor_count(&self) -> usize {
        self.tensor_count
    }

    pub(super) fn directory_offset(&self) -> usize {
        self.directory_offset
    }

    /// Where a tensor lies; `None` if the model has none. `layer` is 0 for tensors outside the
    /// layers.
    pub fn span(&self, kind: TensorKind, layer: usize) -> Option<Span> {
        let layers = if kind.is_per_layer() { self.config.layer_count } else { 1 };
        if layer >= layers || kind.storage(&self.config).is_none() {
            return None;
        }
        let span = self.spans[kind as usize];
        // Cannot overflow: `new` took the product with the number of layers.
        Some(Span { offset: span.offset + layer * self.layer_stride, bytes: span.bytes })
    }

    /// All tensors in the order of their offsets.
    pub fn tensors(&self) -> impl Iterator<Item = TensorPlace> + '_ {
        let place = |kind: TensorKind, layer: Option<usize>| {
            let span = self.span(kind, layer.unwrap_or(0))?;
            Some(TensorPlace { kind, layer, expert: None, span })
        };
        let outer =
            move |kinds: &'static [TensorKind]| kinds.iter().filter_map(move |kind| place(*kind, None));
        let layers = (0..self.config.layer_count)
            .flat_map(move |layer| LAYER.iter().filter_map(move |kind| place(*kind, Some(layer))));
        outer(&BEFORE).chain(layers).chain(outer(&AFTER))
    }

    /// The aux blobs: name and place.
    pub fn aux(&self) -> impl Iterator<Item = (&'n str, Span)> + '_ {
        self.aux[..self.aux_count].iter().copied()
    }
}
