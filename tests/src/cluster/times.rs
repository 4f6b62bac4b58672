//! How long a step of an engine takes, from what `verbatim-bench model --json` measured.
//!
//! A step of r rows that read the keys and values of c positions takes f(r) + a·c. Its weights are
//! read once whatever r is, so f is no line: it goes through the measured points (batches of 1 to
//! 32 rows, prompts of 128 and 512) with lines between. What a position costs comes from decode at
//! two depths, and for rows of a prompt, which share what they read, from two lengths of prompts.
//! Predicting a batch's time from a profile of single operations is the way of Vidur (Agrawal et
//! al., MLSys 2024); here whole steps are profiled, since there are few kinds of them.
use serde_json::Value;

/// The times of one model on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// Rows, and nanoseconds of a step that has them; both rise.
    points: Vec<(u64, u64)>,
    /// Picoseconds for each position that a decoded row attends to.
    decode_position_ps: u64,
    /// Picoseconds for each position that a row of a prompt attends to.
    prefill_position_ps: u64,
    /// The machine, as the measurement named it.
    machine: String,
}

/// The times that the simulator takes unless told otherwise: TinyLlama's shape (1.1 billion
/// weights) in int8 on a machine of two cores.
pub const TINYLLAMA: &str = include_str!("../../data/cluster/tinyllama-int8.jsonl");

/// Context of a sequence in the middle of a measured batch: a prompt of 64, and some tokens.
const BATCH_CONTEXT: u64 = 72;

impl Times {
    /// Reads what `verbatim-bench model --json` printed, a JSON object a line; other lines, which
    /// tell that a model was made, are passed over. An error says which figure is missing.
    pub fn measured(lines: &str) -> Result<Self, String> {
        let mut values = Vec::new();
        for (i, line) in lines.lines().enumerate().filter(|(_, line)| line.starts_with('{')) {
            let value: Value =
                serde_json::from_str(line).map_err(|error| format!("line {}: {error}", i + 1))?;
            values.push(value);
        }
        let head = values.first().filter(|head| head["bench"] == "model");
        let head = head.ok_or("the first line is not that of `verbatim-bench model --json`")?;
        let workers = head["workers"].as_u64().ok_or("the first line has no number of workers")?;
        let who = format!("{workers} worker{}", if workers == 1 { "" } else { "s" });
        let rate = |case: &str| {
            let line = values.iter().find(|line| line["case"] == case);
            let rate =
                line.and_then(|line| line["value"].as_f64()).filter(|rate| *rate > 1e-3 && *rate < 1e9);
            rate.ok_or_else(|| format!("no tokens a second for {case:?}"))
        };
        // The one place where floats are read; from here on all is whole numbers.
        let nanoseconds = |tokens: u64, rate: f64| (tokens as f64 * 1e9 / rate) as u64;

        let shallow = nanoseconds(1, rate(&format!("{who}: decode at 128"))?);
        let deep = nanoseconds(1, rate(&format!("{who}: decode at 1536"))?);
        let decode_position_ps = 1000 * deep.saturating_sub(shallow) / (1536 - 128);
        let prompt =
            |length: u64| Ok::<_, String>(nanoseconds(length, rate(&format!("{who}: prefill {length}"))?));
        let (short, middle, long) = (prompt(128)?, prompt(512)?, prompt(1536)?);
        // 1536 tokens are three steps of 512; what they take beyond that is for positions.
        let pairs = |length: u64| length * length / 2;
        let prefill_position_ps = 1000 * long.saturating_sub(3 * middle) / (pairs(1536) - 3 * pairs(512));

        let mut points = Vec::new();
        for rows in [1, 2, 4, 8, 12, 16, 32] {
            let took = nanoseconds(rows, rate(&format!("batch {rows}"))?);
            points.push((rows, took.saturating_sub(rows * BATCH_CONTEXT * decode_position_ps / 1000)));
        }
        for (rows, took) in [(128, short), (512, middle)] {
            points.push((rows, took.saturating_sub(pairs(rows) * prefill_position_ps / 1000)));
        }
        // More rows never take less time: where the machine was disturbed, the later figure counts.
        for i in (1..points.len()).rev() {
            points[i - 1].1 = points[i - 1].1.min(points[i].1).max(1);
        }
        let machine = format!("{}, {workers} threads", head["cpu"].as_str().unwrap_or("unknown CPU"));
        Ok(Self { points, decode_position_ps, prefill_position_ps, machine })
    }

    /// Steps that take the same time whatever is in them, for comparison with a formula.
    pub fn constant(step_ns: u64) -> Self {
        let points = vec![(1, step_ns), (512, step_ns)];
        Self { points, decode_position_ps: 0, prefill_position_ps: 0, machine: "constant".to_owned() }
    }

    /// The machine, as the measurement named it.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// Nanoseconds of a step with `rows` rows, whose decoded rows attend to `decode_positions` in
    /// sum, and whose rows of prompts to `prefill_positions`.
    pub fn step_ns(&self, rows: u64, decode_positions: u64, prefill_positions: u64) -> u64 {
        let positions =
            decode_positions * self.decode_position_ps + prefill_positions * self.prefill_position_ps;
        self.rows_ns(rows) + positions / 1000
    }

    /// Nanoseconds for the rows alone: on the line between two points, or on the last line.
    fn rows_ns(&self, rows: u64) -> u64 {
        let last = self.points.len() - 1;
        let above = self.points.partition_point(|(at, _)| *at < rows).clamp(1, last);
        let ((low, low_ns), (high, high_ns)) = (self.points[above - 1], self.points[above]);
        low_ns + (high_ns - low_ns) * rows.saturating_sub(low) / (high - low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(deep: f64) -> String {
        let mut lines = vec![r#"{"bench":"model","cpu":"X","workers":2}"#.to_owned()];
        let mut put = |case: &str, value: f64| lines.push(format!(r#"{{"case":"{case}","value":{value}}}"#));
        put("1 worker: decode at 128", 1.0);
        put("2 workers: decode at 128", 20.0);
        put("2 workers: decode at 1536", deep);
        put("2 workers: prefill 128", 400.0);
        put("2 workers: prefill 512", 500.0);
        put("2 workers: prefill 1536", 400.0);
        for (rows, rate) in
            [(1, 20.0), (2, 39.0), (4, 70.0), (8, 120.0), (12, 150.0), (16, 180.0), (32, 260.0)]
        {
            put(&format!("batch {rows}"), rate);
        }
        lines.join("\n")
    }

    #[test]
    fn steps_take_what_was_measured() {
        let times = Times::measured(&lines(19.0)).expect("all figures are there");
        let near = |found: u64, expected: u64| found.abs_diff(expected) * 100 <= expected;
        // One row at 72 positions: 50 ms. Eight: 8 / 120 s.
        assert!(near(times.step_ns(1, 72, 0), 50_000_000), "{}", times.step_ns(1, 72, 0));
        assert!(near(times.step_ns(8, 8 * 72, 0), 66_666_666), "{}", times.step_ns(8, 8 * 72, 0));
        // A row at a depth of 1536 instead of 128: 1/19 s instead of 1/20 s.
        let deeper = times.step_ns(1, 1536, 0) - times.step_ns(1, 128, 0);
        assert!(near(deeper, 1_000_000_000 / 19 - 50_000_000), "{deeper}");
        // 512 rows of a prompt: 1.024 s. Between points the time rises with the rows.
        assert!(near(times.step_ns(512, 0, 512 * 512 / 2), 1_024_000_000));
        assert!((1..600).all(|rows| times.step_ns(rows, 0, 0) <= times.step_ns(rows + 1, 0, 0)));
        assert_eq!(times.machine(), "X, 2 threads");
    }

    #[test]
    fn what_is_missing_or_odd_is_said() {
        let without = |what: &str| {
            let kept: Vec<String> =
                lines(19.0).lines().filter(|line| !line.contains(what)).map(str::to_owned).collect();
            Times::measured(&kept.join("\n")).expect_err("it is missing")
        };
        assert!(without("batch 12").contains("batch 12"));
        assert!(Times::measured(&format!("writing a model\n{}", lines(19.0))).is_ok());
        assert!(without("bench").contains("first line"));
        assert!(Times::measured("{").expect_err("no JSON").contains("line 1"));
        // A machine that was disturbed may seem faster at depth: then depth costs nothing.
        assert_eq!(Times::measured(&lines(25.0)).map(|times| times.decode_position_ps), Ok(0));
        assert!(Times::measured(TINYLLAMA).is_ok());
    }
}
