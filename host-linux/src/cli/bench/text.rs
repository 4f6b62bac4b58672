//! A benchmark's outcome for a terminal, with bars.
use super::super::paint::Paint;
use super::result::{Outcome, Row};
use crate::measure::bound::Bound;
use crate::text::figures::{bytes, rate, tokens};

/// Columns of a bar that reaches its limit.
const BAR: usize = 20;

/// The whole outcome, line by line.
pub(super) fn lines(outcome: &Outcome, paint: Paint) -> Vec<String> {
    let label = |text: &str| paint.bold(&format!("{text:<12}"));
    let plural = if outcome.workers == 1 { "" } else { "s" };
    let peaks = &outcome.machine.peaks;
    let int8 = peaks.int8_dot.max(peaks.int8_tiles);
    let mut all = vec![
        format!("{}{} ({}), {}", label("model"), outcome.model, outcome.fingerprint, outcome.format),
        format!("{}{} with {}, {} worker{plural}", label("CPU"), outcome.cpu, outcome.isa, outcome.workers),
        format!("{}reads {};", label("limits"), rate(outcome.machine.read, "B")),
        format!(
            "{:12}multiplies and adds f32 {}, bf16 {}, int8 {}",
            "",
            rate(peaks.f32_fma, "op"),
            rate(peaks.bf16_dot, "op"),
            rate(int8, "op"),
        ),
        String::new(),
    ];
    for row in outcome.rows() {
        all.push(format!(
            "{}{} {:>14}  {:3.0}% of {} at most",
            label(&row.label),
            bar(row.share()),
            tokens(row.rate),
            100.0 * row.share(),
            tokens(row.limit.tokens()),
        ));
    }
    all.push(String::new());
    all.extend(outcome.rows().flat_map(|row| bounds(row, outcome.bytes)));
    if outcome.others.is_empty() {
        return all;
    }
    all.push(String::new());
    all.push("other formats, estimated from their bytes and the rates above:".to_owned());
    for other in &outcome.others {
        all.push(format!(
            "{}reads {:>7}: decode x1 {:>14}, prefill {:>14}",
            label(&format!("  {}", other.format.name())),
            bytes(other.bytes as u64),
            tokens(other.decode),
            tokens(other.prefill),
        ));
    }
    all
}

/// A bar for a share of a limit.
fn bar(share: f64) -> String {
    let full = (share * BAR as f64).round().clamp(0.0, BAR as f64) as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}

/// What bounds a row, and what would make it faster: a line each.
fn bounds(row: &Row, bytes_read: f64) -> Vec<String> {
    let label = &row.label;
    let (what, advice) = match row.bound() {
        Bound::Memory => (
            format!("bound by memory: a step reads {} of weights", bytes(bytes_read as u64)),
            "fewer bits, or more sequences at once, help; more threads do not",
        ),
        Bound::Arithmetic => {
            ("bound by arithmetic".to_owned(), "more cores, or faster products, help; fewer bytes do not")
        }
        Bound::Neither => (
            "bound neither by memory nor by arithmetic".to_owned(),
            "attention, small operations or other programs: see verbatim doctor",
        ),
        Bound::Unsettled => (
            "faster than the limits that were measured".to_owned(),
            "other programs took time meanwhile: measure again when it is idle",
        ),
        Bound::Caches => (
            "not bound by memory: the weights stay in the caches".to_owned(),
            "what other formats would give cannot be told from their bytes",
        ),
    };
    vec![format!("{label} is {what};"), format!("{:12}{advice}", "")]
}

#[cfg(test)]
mod tests {
    use super::super::result::example;
    use super::*;

    #[test]
    fn figures_stand_beside_their_limits() {
        let all = lines(&example(), Paint::plain()).join("\n");
        for part in [
            "limits      reads 20.0 GB/s;\n",
            "            multiplies and adds f32 100 Gop/s, bf16 200 Gop/s, int8 400 Gop/s\n",
            "decode x1   ████████████████░░░░ ",
            "8.00 tokens/s   80% of 10.0 tokens/s at most",
            "decode x1 is bound by memory: a step reads 2.20 GB",
            "decode x8 is bound neither",
            "prefill 512 is bound by arithmetic",
            "  int8      reads 1.10 GB: decode x1  16.0 tokens/s, prefill   120 tokens/s",
        ] {
            assert!(all.contains(part), "no {part:?} in\n{all}");
        }
        let wide = all.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "a terminal has 80 columns");
    }

    #[test]
    fn bars_are_as_long_as_their_share() {
        let full = |share| bar(share).matches('█').count();
        assert_eq!([0.0, 0.5, 1.0, 7.0, -1.0, f64::NAN].map(full), [0, BAR / 2, BAR, BAR, 0, 0]);
        assert_eq!(bar(0.3).chars().count(), BAR);
    }
}
