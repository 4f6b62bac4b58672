//! How a model writes reasoning and calls.
use super::formats::{gemma, hermes, llama, mistral, phi, pythonic, qwen_coder};
use super::offered::OfferedTools;
use super::scan::Syntax;
use crate::text::Tokenizer;
use std::sync::Arc;

/// What an answer may hold besides text. By default it is text alone.
#[derive(Clone, Debug, Default)]
pub struct OutputFormat {
    /// Reasoning before the answer, if it is to be told apart.
    pub reasoning: Option<ReasoningFormat>,
    /// Calls, if functions are offered.
    pub tools: Option<ToolFormat>,
}

/// How reasoning is marked in one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasoningFormat {
    /// The marks around it.
    pub syntax: ReasoningSyntax,
    /// Whether the prompt ends within the reasoning, so that the answer begins with it.
    pub is_open: bool,
}

/// The marks around reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasoningSyntax {
    /// `<think>` before it and `</think>` behind it.
    Think,
    /// `[THINK]` before it and `[/THINK]` behind it, as Mistral's models write.
    Brackets,
}

/// How one answer calls functions.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolFormat {
    /// How calls are written.
    pub syntax: ToolSyntax,
    /// Whether an answer may call more than once; otherwise calls after the first are dropped.
    pub parallel: bool,
    /// The functions that are offered.
    pub offered: Arc<OfferedTools>,
}

/// A way to write calls. `docs/tools.md` shows each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolSyntax {
    /// Llama 3's object without marks, or behind `<|python_tag|>`.
    Llama,
    /// Objects in `<tool_call>`, as Hermes, Qwen 2.5, Qwen 3 and many others write them.
    Hermes,
    /// Qwen3-Coder's tags in `<tool_call>`.
    QwenCoder,
    /// Mistral's `[TOOL_CALLS]` before a list of objects.
    Mistral,
    /// Mistral's `[TOOL_CALLS]` and `[ARGS]`, around the name of each call.
    MistralNamed,
    /// Gemma's blocks of code, fenced by backticks.
    Gemma,
    /// Phi-4's `<|tool_call|>` before a list of objects.
    Phi,
    /// Python's calls in a list.
    Pythonic,
}

impl ReasoningSyntax {
    /// All marks that are known.
    pub const ALL: [Self; 2] = [Self::Think, Self::Brackets];

    /// The name that flags know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Think => "think",
            Self::Brackets => "mistral",
        }
    }

    /// The syntax of this name, which may be another server's for the same.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.replace('-', "_").as_str() {
            "think" | "qwen3" | "deepseek_r1" => Some(Self::Think),
            "mistral" => Some(Self::Brackets),
            _ => None,
        }
    }

    /// The syntax of a model with this chat template.
    pub fn detect(template: &str) -> Option<Self> {
        let has = |syntax: &Self| template.contains(syntax.marks().0) || template.contains(syntax.marks().1);
        Self::ALL.into_iter().find(has)
    }

    /// The marks that open and close reasoning.
    pub fn marks(self) -> (&'static str, &'static str) {
        match self {
            Self::Think => ("<think>", "</think>"),
            Self::Brackets => ("[THINK]", "[/THINK]"),
        }
    }

    /// How the answer to a prompt that ends with `tail` is marked. `tail` is what the prompt has of
    /// the message that the model goes on with.
    pub fn after(self, tail: &str) -> ReasoningFormat {
        let (opening, closing) = self.marks();
        let is_open = match (tail.rfind(opening), tail.rfind(closing)) {
            (Some(opened), Some(closed)) => opened > closed,
            (Some(_), None) => true,
            (None, _) => false,
        };
        ReasoningFormat { syntax: self, is_open }
    }
}

impl ToolSyntax {
    /// All ways that are known.
    pub const ALL: [Self; 8] = [
        Self::Llama,
        Self::Hermes,
        Self::QwenCoder,
        Self::Mistral,
        Self::MistralNamed,
        Self::Gemma,
        Self::Phi,
        Self::Pythonic,
    ];

    /// The name that flags know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama3",
            Self::Hermes => "hermes",
            Self::QwenCoder => "qwen3-coder",
            Self::Mistral => "mistral",
            Self::MistralNamed => "mistral-args",
            Self::Gemma => "gemma",
            Self::Phi => "phi4",
            Self::Pythonic => "pythonic",
        }
    }

    /// The syntax of this name, which may be another server's for the same.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.replace('-', "_").as_str() {
            "llama3" | "llama3_json" => Some(Self::Llama),
            "hermes" | "qwen3" | "qwen2_5" => Some(Self::Hermes),
            "qwen3_coder" | "qwen3_xml" => Some(Self::QwenCoder),
            "mistral" => Some(Self::Mistral),
            "mistral_args" => Some(Self::MistralNamed),
            "gemma" => Some(Self::Gemma),
            "phi4" | "phi4_mini_json" => Some(Self::Phi),
            "pythonic" | "llama4_pythonic" => Some(Self::Pythonic),
            _ => None,
        }
    }

    /// The syntax of a model with this chat template: that whose marks stand in it.
    pub fn detect(template: &str) -> Option<Self> {
        let has = |mark: &str| template.contains(mark);
        let found = if has("[TOOL_CALLS]") {
            if has("[ARGS]") { Self::MistralNamed } else { Self::Mistral }
        } else if has("<tool_call>") {
            if has("<function=") { Self::QwenCoder } else { Self::Hermes }
        } else if has("<|tool_call|>") || has("functools") {
            Self::Phi
        } else if has("tool_code") {
            Self::Gemma
        } else if has("<|python_start|>") || has("[func_name1(") {
            Self::Pythonic
        } else if has("<|python_tag|>") || has("ipython") {
            Self::Llama
        } else {
            return None;
        };
        Some(found)
    }

    /// What the reader must know of it.
    pub(super) fn reader(self, offered: &Arc<OfferedTools>) -> Box<dyn Syntax> {
        let offered = Arc::clone(offered);
        match self {
            Self::Llama => Box::new(llama::Llama(offered)),
            Self::Hermes => Box::new(hermes::Hermes(offered)),
            Self::QwenCoder => Box::new(qwen_coder::QwenCoder(offered)),
            Self::Mistral | Self::MistralNamed => Box::new(mistral::Mistral),
            Self::Gemma => Box::new(gemma::Gemma(offered)),
            Self::Phi => Box::new(phi::Phi),
            Self::Pythonic => Box::new(pythonic::Pythonic(offered)),
        }
    }
}

impl OutputFormat {
    /// The ids of special tokens that mark something in this format. Their text must reach the
    /// reader, though special tokens are no text otherwise.
    pub fn kept_ids(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        let mut marks: Vec<&str> = Vec::new();
        if let Some(reasoning) = &self.reasoning {
            marks.extend([reasoning.syntax.marks().0, reasoning.syntax.marks().1]);
        }
        if let Some(tools) = &self.tools {
            let reader = tools.syntax.reader(&tools.offered);
            marks.extend(reader.openings());
            marks.extend(reader.closings());
            marks.extend(reader.inner_marks());
        }
        let ids = marks.into_iter().filter_map(|mark| tokenizer.id_of(mark));
        ids.filter(|id| tokenizer.is_special(*id)).collect()
    }
}

/// What is chosen of a model's format in place of what its chat template tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormatChoice {
    /// How calls are written.
    pub tools: Option<ToolSyntax>,
    /// How reasoning is marked; `Some(None)` if it is not told apart.
    pub reasoning: Option<Option<ReasoningSyntax>>,
}

/// How a model writes calls and reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelFormat {
    /// How calls are written.
    pub tools: ToolSyntax,
    /// How reasoning is marked; `None` if there is none, or it is not told apart.
    pub reasoning: Option<ReasoningSyntax>,
}

impl ModelFormat {
    /// The format of a model with this chat template. Calls are Hermes's where the template tells
    /// of none: that is how they are asked for then.
    pub fn of(template: Option<&str>, choice: FormatChoice) -> Self {
        let template = template.unwrap_or_default();
        let tools = choice.tools.or_else(|| ToolSyntax::detect(template));
        Self {
            tools: tools.unwrap_or(ToolSyntax::Hermes),
            reasoning: choice.reasoning.unwrap_or_else(|| ReasoningSyntax::detect(template)),
        }
    }
}
