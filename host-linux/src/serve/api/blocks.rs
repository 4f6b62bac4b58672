//! An answer as a row of blocks: reasoning, text, and calls of tools, one after another.
//!
//! Dialects that list what an answer is made of write one entry for each block. A block is open
//! until another one begins.
use crate::text::parts::Part;

/// White space, in bytes, that is held back at most until it is known what follows it. More of it
/// is a block like any other text.
const SPACE_MAX: usize = 4096;

/// A block of an answer, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// What the model thought.
    Reasoning(String),
    /// What the model says.
    Text(String),
    /// A call of a tool.
    Call {
        /// The number of the call in the answer.
        call: usize,
        /// The name of the tool.
        name: String,
        /// JSON, as far as it has come.
        arguments: String,
    },
}

impl Block {
    fn content(&mut self) -> &mut String {
        match self {
            Self::Reasoning(text) | Self::Text(text) | Self::Call { arguments: text, .. } => text,
        }
    }
}

/// What became of a block, by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It began, without content.
    Began(usize),
    /// Its content grew by this much.
    Grew(usize, String),
    /// It is whole, and grows no more.
    Ended(usize),
}

/// The blocks of one choice.
///
/// White space alone, which models write to set reasoning and calls apart, is no block, unless it
/// is the whole answer or longer than anybody would set anything apart by.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks {
    list: Vec<Block>,
    /// Whether the last one may grow.
    is_open: bool,
    /// White space that begins a text, if more of the text follows.
    space: String,
}

impl Blocks {
    /// All blocks, in order.
    pub(super) fn list(&self) -> &[Block] {
        &self.list
    }

    /// Takes a part, and adds what it changes to `changes`.
    pub(super) fn push(&mut self, part: &Part, changes: &mut Vec<Change>) {
        match part {
            Part::Text(text) => self.text(text, changes),
            Part::Reasoning(text) => {
                self.space.clear();
                if !matches!(self.open(), Some(Block::Reasoning(_))) && !text.is_empty() {
                    self.begin(Block::Reasoning(String::new()), changes);
                }
                self.grow(text, changes);
            }
            Part::CallBegins { call, name } => {
                self.space.clear();
                self.begin(
                    Block::Call { call: *call, name: name.clone(), arguments: String::new() },
                    changes,
                );
            }
            Part::Arguments { call, fragment } => {
                // A call's arguments follow it, so it is the open block.
                if matches!(self.open(), Some(Block::Call { call: open, .. }) if open == call) {
                    self.grow(fragment, changes);
                }
            }
        }
    }

    /// Ends the last block.
    pub(super) fn finish(&mut self, changes: &mut Vec<Change>) {
        if self.list.is_empty() && !self.space.is_empty() {
            let space = std::mem::take(&mut self.space);
            self.begin(Block::Text(String::new()), changes);
            self.grow(&space, changes);
        }
        self.end(changes);
    }

    fn open(&self) -> Option<&Block> {
        self.list.last().filter(|_| self.is_open)
    }

    fn text(&mut self, text: &str, changes: &mut Vec<Change>) {
        if matches!(self.open(), Some(Block::Text(_))) {
            return self.grow(text, changes);
        }
        self.space.push_str(text);
        // What was held back before is white space: it is not looked at again.
        if !text.trim().is_empty() || self.space.len() > SPACE_MAX {
            let all = std::mem::take(&mut self.space);
            self.begin(Block::Text(String::new()), changes);
            self.grow(&all, changes);
        }
    }

    fn begin(&mut self, block: Block, changes: &mut Vec<Change>) {
        self.end(changes);
        self.list.push(block);
        self.is_open = true;
        changes.push(Change::Began(self.list.len() - 1));
    }

    fn grow(&mut self, by: &str, changes: &mut Vec<Change>) {
        let at = self.list.len();
        if let Some(block) = self.list.last_mut().filter(|_| !by.is_empty()) {
            block.content().push_str(by);
            changes.push(Change::Grew(at - 1, by.to_owned()));
        }
    }

    fn end(&mut self, changes: &mut Vec<Change>) {
        if std::mem::take(&mut self.is_open) {
            changes.push(Change::Ended(self.list.len() - 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Part {
        Part::Text(text.to_owned())
    }

    fn call(call: usize, name: &str) -> Part {
        Part::CallBegins { call, name: name.to_owned() }
    }

    fn arguments(call: usize, fragment: &str) -> Part {
        Part::Arguments { call, fragment: fragment.to_owned() }
    }

    /// The blocks of some parts; their changes put together are the blocks.
    fn blocks(parts: &[Part]) -> Vec<Block> {
        let (mut blocks, mut changes) = (Blocks::default(), Vec::new());
        parts.iter().for_each(|part| blocks.push(part, &mut changes));
        blocks.finish(&mut changes);
        let mut seen: Vec<String> = Vec::new();
        let mut open = None;
        for change in changes {
            match change {
                Change::Began(at) => {
                    assert_eq!((open.replace(at), at), (None, seen.len()), "one block is open at a time");
                    seen.push(String::new());
                }
                Change::Grew(at, by) => {
                    assert!(open == Some(at) && !by.is_empty());
                    seen[at].push_str(&by);
                }
                Change::Ended(at) => assert_eq!(open.take(), Some(at)),
            }
        }
        assert_eq!(open, None, "every block ends");
        let mut list = blocks.list().to_vec();
        let contents: Vec<String> = list.iter_mut().map(|block| block.content().clone()).collect();
        assert_eq!(seen, contents);
        list
    }

    #[test]
    fn parts_of_one_kind_are_one_block() {
        let thought = |text: &str| Part::Reasoning(text.to_owned());
        let list = blocks(&[
            text("\n"),
            thought("I "),
            thought("think"),
            text("\n\n"),
            text(" so"),
            text("."),
            call(0, "look"),
            arguments(0, "{\"a\""),
            arguments(0, ":1}"),
            text("\n"),
            call(1, "look"),
            arguments(1, "{}"),
            text(" \n"),
        ]);
        let made = |call, arguments: &str| Block::Call {
            call,
            name: "look".to_owned(),
            arguments: arguments.to_owned(),
        };
        let expected = [
            Block::Reasoning("I think".to_owned()),
            Block::Text("\n\n so.".to_owned()),
            made(0, "{\"a\":1}"),
            made(1, "{}"),
        ];
        assert_eq!(list, expected);
    }

    #[test]
    fn an_answer_of_white_space_is_one() {
        assert_eq!(blocks(&[text(" "), text("\n")]), [Block::Text(" \n".to_owned())]);
        assert_eq!(blocks(&[text("")]), []);
        assert_eq!(blocks(&[text("a"), text(" ")]), [Block::Text("a ".to_owned())]);
    }

    #[test]
    fn white_space_is_held_back_no_longer_than_it_sets_anything_apart() {
        let space = |count: usize| " ".repeat(count);
        let (mut one_by_one, mut changes) = (Blocks::default(), Vec::new());
        for _ in 0..3 * SPACE_MAX {
            one_by_one.push(&text(" "), &mut changes);
            assert!(one_by_one.space.len() <= SPACE_MAX);
        }
        assert_eq!(one_by_one.list(), [Block::Text(space(3 * SPACE_MAX))]);
        // What is said at once is what is said in pieces.
        for (count, is_block) in [(SPACE_MAX, false), (SPACE_MAX + 1, true)] {
            let made = Block::Call { call: 0, name: "look".to_owned(), arguments: String::new() };
            let expected: Vec<_> =
                is_block.then(|| Block::Text(space(count))).into_iter().chain([made]).collect();
            assert_eq!(blocks(&[text(&space(count)), call(0, "look")]), expected);
            let pieces: Vec<_> = (0..count).map(|_| text(" ")).chain([call(0, "look")]).collect();
            assert_eq!(blocks(&pieces), expected);
        }
    }
}
