//! How models of the Hugging Face Hub are named: `ORG/NAME`, with `@REVISION` and `:MIX` behind.
use std::fmt;

/// Characters of an organisation or a name, at most; the hub itself allows 96.
const PART_MAX: usize = 128;
/// Characters of a revision, at most.
const REVISION_MAX: usize = 200;
/// Characters of a mix, at most.
const MIX_MAX: usize = 64;

/// Digits that stand for a commit, at least.
const SHORT_MIN: usize = 7;

/// The branch that a name without a revision means.
pub const MAIN: &str = "main";

/// A model of the hub. Its parts are safe as names of files: none leads out of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepositoryName {
    /// The user or organisation that publishes it.
    pub organisation: Box<str>,
    /// What it is called there.
    pub name: Box<str>,
    /// The branch, tag or commit behind `@`; `None` is [`MAIN`].
    pub revision: Option<Box<str>>,
    /// The mix of a GGUF file behind `:`, such as `Q4_K_M`.
    pub mix: Option<Box<str>>,
}

impl RepositoryName {
    /// Reads `ORG/NAME[@REVISION][:MIX]`; `None` if `text` is not written so.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, mix) = text.split_once(':').map_or((text, None), |(rest, mix)| (rest, Some(mix)));
        let (id, revision) = rest.split_once('@').map_or((rest, None), |(id, to)| (id, Some(to)));
        let (organisation, name) = id.split_once('/')?;
        let is_part = |part: &str| is_plain(part) && part.len() <= PART_MAX;
        let is_named = is_part(organisation) && is_part(name);
        let is_well = is_named && revision.is_none_or(is_revision) && mix.is_none_or(is_mix);
        is_well.then(|| Self {
            organisation: organisation.into(),
            name: name.into(),
            revision: revision.map(Into::into),
            mix: mix.map(Into::into),
        })
    }

    /// The name of a folder of the cache, `models--ORG--NAME`, as a model.
    pub fn of_folder(folder: &str) -> Option<Self> {
        let (organisation, name) = folder.strip_prefix("models--")?.split_once("--")?;
        Self::parse(&format!("{organisation}/{name}")).filter(|found| found.mix.is_none())
    }

    /// The folder of the cache that holds it.
    pub fn folder(&self) -> String {
        format!("models--{}--{}", self.organisation, self.name)
    }

    /// Organisation and name alone, as addresses have them.
    pub fn id(&self) -> String {
        format!("{}/{}", self.organisation, self.name)
    }

    /// The branch, tag or commit.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// This repository and revision, with another mix or none.
    pub fn with_mix(&self, mix: Option<&str>) -> Self {
        Self { mix: mix.map(Into::into), ..self.clone() }
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.organisation, self.name)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        if let Some(mix) = &self.mix {
            write!(f, ":{mix}")?;
        }
        Ok(())
    }
}

/// Whether a word may name a folder: letters, digits, `-`, `_` and `.`, which does not come first.
fn is_plain(word: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !word.is_empty() && !word.starts_with('.') && word.bytes().all(known)
}

/// Whether a text may be a revision. Branches such as `refs/pr/1` have several words.
fn is_revision(text: &str) -> bool {
    text.len() <= REVISION_MAX && text.split('/').all(is_plain)
}

fn is_mix(text: &str) -> bool {
    text.len() <= MIX_MAX && is_plain(text)
}

/// Whether a text is the full id of a commit: 40 hexadecimal digits in lower case.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a text may stand for a commit by the first of its digits, as git and people write it.
pub fn is_short_commit(text: &str) -> bool {
    (SHORT_MIN..40).contains(&text.len()) && is_commit(&format!("{text:0<40}"))
}

/// The commit that a text is the beginning of, if there is no other like it.
pub fn abbreviated<'c>(text: &str, commits: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let mut found = commits.into_iter().filter(|id| is_commit(id) && id.starts_with(text));
    let only = found.next().filter(|_| is_short_commit(text))?;
    found.next().is_none().then_some(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_alike() {
        for text in
            ["org/small", "o-r.g/s_m", "org/small@refs/pr/1", "org/small:Q4_K_M", "org/small@v1.0:Q8_0"]
        {
            let name = RepositoryName::parse(text).unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(RepositoryName::of_folder(&name.folder()).unwrap().id(), name.id());
        }
        assert_eq!(RepositoryName::parse("org/small").unwrap().revision(), "main");
        assert!(is_commit(&"0123456789".repeat(4)) && !is_commit("main") && !is_commit(&"A".repeat(40)));
    }

    #[test]
    fn the_first_digits_of_a_commit_stand_for_it_if_they_fit_no_other() {
        let commits = ["0123456789".repeat(4), format!("0123456{}", "f".repeat(33)), "a".repeat(40)];
        let of = |text: &str| abbreviated(text, commits.iter().map(String::as_str));
        assert_eq!(of("01234567"), Some(commits[0].as_str()));
        assert_eq!(of("aaaaaaa"), Some(commits[2].as_str()));
        for none in ["0123456", "aaaaaa", "AAAAAAA", "main", "", "bbbbbbb", "aaaaaag"] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(of(&commits[2]), None, "that is no abbreviation");
    }

    #[test]
    fn what_leads_elsewhere_is_no_name() {
        let long = format!("org/{}", "n".repeat(PART_MAX + 1));
        for text in [
            "",
            "nothing",
            "a/b/c",
            "../x",
            "org/",
            "/name",
            "org/a b",
            "org/..",
            ".org/name",
            "org/name@",
            "org/name@../x",
            "org/name@a//b",
            "org/name@.git",
            "org/name:",
            "org/name:a/b",
            "org/name:..",
            "org/name@v1@v2",
            "org/n\u{e9}",
            "./a",
            &long,
        ] {
            assert_eq!(RepositoryName::parse(text), None, "{text}");
        }
        for folder in ["datasets--a--b", "models--a", "models--.a--b", "models--a--"] {
            assert_eq!(RepositoryName::of_folder(folder), None, "{folder}");
        }
    }
}
