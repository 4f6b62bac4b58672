//! What an answer is made of.

/// A piece of an answer, in the order in which it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text of the answer itself.
    Text(String),
    /// Text that the model wrote to itself before it answered.
    Reasoning(String),
    /// A call of a function begins; at least one fragment of its arguments follows.
    CallBegins {
        /// Its number among the calls of this answer, from 0.
        call: usize,
        /// The name of the function.
        name: String,
    },
    /// JSON text of a call's arguments. All fragments of a call together are an object, or the
    /// beginning of one where the answer ended within it or went on as something else.
    Arguments {
        /// The number of the call, which is the one that began last.
        call: usize,
        /// The text; never empty.
        fragment: String,
    },
}

/// Parts as they are when as few as possible say the same: neighbours of a kind become one.
pub fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut out: Vec<Part> = Vec::new();
    for part in parts {
        match (out.last_mut(), part) {
            (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
            (Some(Part::Reasoning(before)), Part::Reasoning(text)) => before.push_str(&text),
            (Some(Part::Arguments { call: last, fragment: before }), Part::Arguments { call, fragment })
                if *last == call =>
            {
                before.push_str(&fragment)
            }
            (_, part) => out.push(part),
        }
    }
    out
}
