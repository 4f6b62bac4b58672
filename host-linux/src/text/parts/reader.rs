//! An answer's text to its parts.
use super::format::OutputFormat;
use super::part::Part;
use super::reasoning::ReasoningReader;
use super::scan::CallReader;
use super::sink::Sink;

/// Reads the text of one answer, in pieces, to parts.
///
/// Text that may be a mark or a call is held back, at most some 64 KiB of it. Parts put together
/// ([`super::part::joined`]) do not depend on how the text was cut.
#[derive(Debug)]
pub struct PartReader {
    reasoning: Option<ReasoningReader>,
    calls: Option<CallReader>,
    sink: Sink,
}

impl PartReader {
    /// A reader of an answer in this format.
    pub fn new(format: OutputFormat) -> Self {
        let is_single = format.tools.as_ref().is_some_and(|tools| !tools.parallel);
        let sink = Sink::new(format.tools.is_some(), is_single);
        let calls = format.tools.as_ref().map(|tools| CallReader::new(tools.syntax.reader(&tools.offered)));
        Self { reasoning: format.reasoning.as_ref().map(ReasoningReader::new), calls, sink }
    }

    /// Takes text, and adds the parts that are sure to `out`.
    pub fn push(&mut self, text: &str, out: &mut Vec<Part>) {
        let Self { reasoning, calls, sink } = self;
        match reasoning {
            Some(reasoning) => {
                let mut answer = String::new();
                for c in text.chars() {
                    reasoning.push(c, sink, &mut answer);
                    Self::answer(calls.as_mut(), &answer, sink);
                    answer.clear();
                }
            }
            None => Self::answer(calls.as_mut(), text, sink),
        }
        sink.drain(out);
    }

    /// The answer is complete: what is held back becomes parts.
    pub fn finish(&mut self, out: &mut Vec<Part>) {
        let Self { reasoning, calls, sink } = self;
        if let Some(reasoning) = reasoning {
            let mut answer = String::new();
            reasoning.finish(sink, &mut answer);
            Self::answer(calls.as_mut(), &answer, sink);
        }
        if let Some(calls) = calls {
            calls.finish(sink);
        }
        sink.finish();
        sink.drain(out);
    }

    /// Calls that have begun.
    pub fn calls(&self) -> usize {
        self.sink.calls()
    }

    fn answer(calls: Option<&mut CallReader>, text: &str, sink: &mut Sink) {
        match calls {
            Some(calls) => text.chars().for_each(|c| calls.push(c, sink)),
            None => sink.text(text),
        }
    }
}
