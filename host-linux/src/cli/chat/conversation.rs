//! A conversation: what was said, what the model is told first, and the parameters of answers.
use serde_json::{Map, Value, json};

/// Whose words a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Of whoever asks the model.
    User,
    /// Of the model that answers.
    Assistant,
}

impl Role {
    /// The word of the API.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// What was said at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Who has said it.
    pub(super) role: Role,
    /// The text, without reasoning.
    pub(super) content: String,
    /// The seed that an answer was drawn with, if it is known.
    pub(super) seed: Option<i64>,
}

/// A conversation, as far as it has come. Questions and answers take turns in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Conversation {
    /// What the model is told first.
    pub(super) system: Option<String>,
    /// Questions and their answers.
    pub(super) messages: Vec<Message>,
    /// The parameters that are set, as a body has them.
    pub(super) parameters: Map<String, Value>,
}

impl Conversation {
    /// Adds a question to what was said.
    pub(super) fn ask(&mut self, content: String) {
        self.messages.push(Message { role: Role::User, content, seed: None });
    }

    /// Adds the answer to the last question.
    pub(super) fn answer(&mut self, content: String, seed: Option<i64>) {
        self.messages.push(Message { role: Role::Assistant, content, seed });
    }

    /// Takes back the last question and what follows it; the question.
    pub(super) fn undo(&mut self) -> Option<String> {
        let at = self.messages.iter().rposition(|message| message.role == Role::User)?;
        self.messages.drain(at..).next().map(|message| message.content)
    }

    /// The seed of the last answer.
    pub(super) fn last_seed(&self) -> Option<i64> {
        self.messages.last()?.seed
    }

    /// The body that asks for the next message.
    pub(super) fn body(&self) -> Map<String, Value> {
        let system = self.system.iter().map(|text| json!({"role": "system", "content": text}));
        let said = self
            .messages
            .iter()
            .map(|message| json!({"role": message.role.name(), "content": message.content}));
        let mut body = self.parameters.clone();
        body.insert("messages".to_owned(), system.chain(said).collect());
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_taken_back_with_its_answer() {
        let mut conversation =
            Conversation { system: Some("Be brief.".to_owned()), ..Conversation::default() };
        conversation.parameters.insert("top_k".to_owned(), json!(3));
        conversation.ask("a".to_owned());
        conversation.answer("b".to_owned(), Some(7));
        assert_eq!(conversation.last_seed(), Some(7));
        conversation.ask("c".to_owned());
        let body = json!({"top_k": 3, "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ]});
        assert_eq!(Value::Object(conversation.body()), body);
        assert_eq!(conversation.undo().as_deref(), Some("c"), "one that has no answer yet");
        assert_eq!(conversation.undo().as_deref(), Some("a"));
        assert_eq!(conversation.undo(), None);
        assert_eq!(conversation.last_seed(), None);
    }
}
