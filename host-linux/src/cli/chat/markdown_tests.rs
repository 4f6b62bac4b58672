//! Markdown as a terminal shows it, however the text is cut.
use super::markdown::Markdown;
use super::styles::{BOLD, CODE, DIM, ITALIC, PLAIN, UNDERLINED};
use proptest::prelude::*;

fn new() -> Markdown {
    Markdown::new(|| 30)
}

fn rendered(text: &str) -> String {
    let (mut markdown, mut out) = (new(), String::new());
    markdown.push(text, &mut out);
    markdown.finish(&mut out);
    out
}

/// What is rendered of a text, with the codes in words.
fn told(text: &str) -> String {
    let codes = [
        (UNDERLINED, "<u>"),
        (BOLD, "<b>"),
        (DIM, "<dim>"),
        (ITALIC, "<i>"),
        (CODE, "<code>"),
        (PLAIN, "</>"),
    ];
    codes.iter().fold(rendered(text), |text, (code, word)| text.replace(code, word))
}

#[test]
fn headings_lists_and_quotations_are_shown() {
    assert_eq!(told("# One\n## Two *x*\n#none\n"), "<u>One</>\n<b>Two <i>x</><b></>\n#none\n");
    assert_eq!(told("- a\n  * b\n+ c\n-d\n1. e\n---\n"), "• a\n  • b\n• c\n-d\n1. e\n---\n");
    assert_eq!(told("> so **it** is\n"), "<dim>│</> <i>so <b>it</><i> is</>\n");
}

#[test]
fn code_is_shown_as_it_stands() {
    let text = "```rust\nlet *a* = `b`;\n    ```\n``\n```\nafter";
    let shown = "<dim>```rust</>\n<code>let *a* = `b`;</>\n<code>    ```</>\n<code>``</>\n<dim>```</>\nafter";
    assert_eq!(told(text), shown);
    assert_eq!(told("~~~\na\n```\n~~~\n"), "<dim>~~~</>\n<code>a</>\n<code>```</>\n<dim>~~~</>\n");
    assert_eq!(told("```a``` b"), "<code>a</> b", "a span of code may begin a line");
    assert_eq!(told("```\nopen"), "<dim>```</>\n<code>open</>", "code that nothing closes");
}

#[test]
fn tables_are_shown_when_they_have_ended() {
    let table = "|*a*|b|\n|-|-:|\n|`c`|12|\n";
    let shown = "<b><i>a</><b></> <dim>│</>  <b>b</>\n<dim>──┼───</>\n<code>c</> <dim>│</> 12\n";
    for (before, behind, text) in
        [("", "", ""), ("so:\n", "\n", "\n"), ("# b\n", "## b\n", "<b>"), ("|x|\n", "```\n", "<dim>")]
    {
        let told = told(&format!("{before}{table}{behind}"));
        let (_, rest) = told.split_once(shown).unwrap_or_else(|| panic!("{told}"));
        assert!(rest.starts_with(text), "{rest}");
    }
    assert_eq!(told("|**x**| is\n> y"), "|<b>x</>| is\n<dim>│</> <i>y</>", "no table");
    let wide = format!("|{}|\n|-|\n|*b*|\n", "x".repeat(31));
    assert_eq!(told(&wide), wide.replace("*b*", "<i>b</>"), "too wide for the terminal");
    assert_eq!(told("```\n|a|\n|-|\n```\n").matches("<code>").count(), 2, "no table in code");
    let (mut markdown, mut out) = (new(), String::new());
    markdown.push("|a|\n|-|\n|b|\n", &mut out);
    assert_eq!(out, "");
    markdown.push("c", &mut out);
    assert!(out.ends_with("b\nc"), "{out:?}");
}

#[test]
fn what_is_sure_comes_at_once() {
    let (mut markdown, mut out) = (new(), String::new());
    markdown.push("The answer", &mut out);
    assert_eq!(out, "The answer");
    markdown.push(" is **4", &mut out);
    assert_eq!(out, "The answer is ", "a mark is held until its end has come");
    markdown.push("2**", &mut out);
    markdown.push(".", &mut out);
    assert_eq!(out, format!("The answer is {BOLD}42{PLAIN}."));
    markdown.push("\n``", &mut out);
    assert!(out.ends_with(".\n"));
    markdown.push("`\nlet", &mut out);
    assert!(out.ends_with(&format!("{DIM}```{PLAIN}\n{CODE}let")), "{out:?}");
}

proptest! {
    #[test]
    fn it_does_not_matter_how_a_text_is_cut(
        text in "[ab *_`#>|:\\-~\n\\\\日]{0,60}|(x\n)?\\|a\\|b\n\\|-\\|:-\n([ |ab*`\\\\]{0,9}\n){0,4}[|a]{0,3}",
        cuts in prop::collection::vec(1_usize..8, 0..30),
    ) {
        let (mut markdown, mut out) = (new(), String::new());
        let mut chars = text.chars();
        for cut in cuts {
            let piece: String = chars.by_ref().take(cut).collect();
            markdown.push(&piece, &mut out);
        }
        markdown.push(chars.as_str(), &mut out);
        markdown.finish(&mut out);
        prop_assert_eq!(out, rendered(&text));
    }

    #[test]
    fn no_letter_is_lost_or_moved(text in "[ab *_`#>~|\n-]{0,80}|\\|a\n\\|-\n([ |ab*`]{0,9}\n){0,4}") {
        let mut bare = rendered(&text);
        for code in [UNDERLINED, BOLD, DIM, ITALIC, CODE, PLAIN] {
            bare = bare.replace(code, "");
        }
        let letters = |text: &str| text.chars().filter(|c| matches!(c, 'a' | 'b' | '\n')).collect::<String>();
        prop_assert_eq!(letters(&bare), letters(&text));
    }

    #[test]
    fn a_text_ends_plain(text in "[ab *_`#>~|\n-]{0,80}|\\|a\n\\|-\n([ |ab*`]{0,9}\n){0,4}") {
        let out = rendered(&text);
        if let Some(at) = out.rfind('\x1b') {
            prop_assert!(out[at..].starts_with(PLAIN), "{out:?}");
        }
    }
}
