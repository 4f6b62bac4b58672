//! A load on any server of the OpenAI API: how fast it answers many clients, and whether its
//! answers are those that the same requests have alone.
//!
//! * [`options`]: the flags; [`asks`]: requests of a seed or a trace; [`arrivals`]: when they are
//!   sent; [`client`]: one client.
//! * [`measure`]: what was measured, and what it comes to; [`plot`]: the same as a picture.
//! * [`simulated`]: a server beside its simulation, with the same conversations.
//! * [`soak`]: a load that lasts, with clients that leave and fail, beside the server's memory.
mod arrivals;
mod asks;
mod client;
mod measure;
mod options;
mod plot;
pub(crate) mod simulated;
mod soak;
#[cfg(test)]
mod tests;

use super::report::{Bar, Line, Report, median};
use arrivals::{Arrivals, Job, poisson, run};
use asks::Ask;
use client::{Client, Endpoint, Streamed};
use measure::{Bounds, Repeats, Sample, Summary};
use options::RepeatCheck;
pub(crate) use options::ServeArgs;
use std::time::Duration;

/// Distinct requests of a soak, unless told otherwise.
const SOAK_DISTINCT: usize = 64;
/// By how much a server's memory may move during a soak.
const MEMORY_DRIFT: f64 = 0.02;

/// A server, and the name of its model.
struct Server {
    endpoint: Endpoint,
    model: String,
}

impl Server {
    fn open(url: &str, args: &ServeArgs, model: Option<&String>) -> Result<Self, String> {
        let patience = Duration::from_secs(args.timeout_s);
        let endpoint = Endpoint::new(url, args.api_key.as_deref(), args.chat, patience)?;
        let model = model.map_or_else(|| endpoint.first_model(), |model| Ok(model.clone()))?;
        Ok(Self { endpoint, model })
    }

    /// Asks each request alone, one after another.
    fn alone(&self, asks: &[Ask]) -> Result<Vec<Streamed>, String> {
        let mut client = Client::new(&self.endpoint);
        let answer = |(number, ask): (usize, &Ask)| match client
            .stream(&ask.body(&self.model, self.endpoint.is_chat), None)
        {
            (streamed, None) => Ok(streamed),
            (_, Some(fault)) => Err(format!("request {number}, alone: {fault:?}")),
        };
        asks.iter().enumerate().map(answer).collect()
    }
}

/// A load: what is sent, when, and what came of it.
struct Load<'a> {
    args: &'a ServeArgs,
    asks: Vec<Ask>,
    /// Which of `asks` each request is.
    order: Vec<usize>,
}

/// What a load measured at one server.
struct Measured {
    samples: Vec<Sample>,
    summary: Summary,
    repeats: Repeats,
}

impl<'a> Load<'a> {
    /// A load of drawn requests. Rounds share no request.
    fn drawn(args: &'a ServeArgs, round: u64) -> Self {
        let requests = args.asks.requests;
        let distinct = args.asks.distinct.unwrap_or(requests).min(requests);
        let asks = asks::drawn(&args.asks, distinct, round);
        Self { args, asks, order: (0..requests).map(|i| i % distinct).collect() }
    }

    fn run(&self, server: &Server, arrivals: &Arrivals) -> Result<Measured, String> {
        let check = self.args.repeat_check;
        let mut alone = Vec::new();
        if check == RepeatCheck::Before {
            alone = server.alone(&self.asks)?;
        }
        let job = |number: &usize| Job { number: *number, ask: &self.asks[*number] };
        let jobs: Vec<Job<'_>> = self.order.iter().map(job).collect();
        let samples = run(&server.endpoint, &server.model, &jobs, arrivals);
        if check == RepeatCheck::After {
            alone = server.alone(&self.asks)?;
        }
        let mut repeats = Repeats::default();
        if check != RepeatCheck::Off {
            for sample in samples.iter().filter(|sample| sample.fault.is_none()) {
                repeats.add(sample.number, &sample.streamed, &alone[sample.number]);
            }
        }
        let summary = Summary::new(&samples, self.args.bounds());
        Ok(Measured { samples, summary, repeats })
    }
}

impl ServeArgs {
    fn bounds(&self) -> Bounds {
        Bounds { ttft_ms: self.ttft_ms, itl_ms: self.itl_ms }
    }

    /// How drawn requests arrive, if not at a share of what clients get.
    fn arrivals(&self) -> Arrivals {
        match self.rate {
            Some(rate) => self.poisson(rate),
            None => Arrivals::Clients(self.clients),
        }
    }

    fn poisson(&self, rate: f64) -> Arrivals {
        let at_s = poisson(self.asks.seed, rate, self.asks.requests);
        Arrivals::Times { at_s, in_flight: self.in_flight }
    }
}

/// Prints the figures of a load. `name` is empty, or says which load or server they are of.
fn print(report: &Report, name: &str, measured: &Measured, args: &ServeArgs) {
    let Measured { summary, repeats, .. } = measured;
    let line = |case: &str, value: f64, unit: &'static str, note: String| {
        let case = if name.is_empty() { case.to_owned() } else { format!("{name}: {case}") };
        report.line(&Line::new(case, value, unit).note(note));
    };
    let Summary { requests, whole, good, tokens, prompt_tokens, .. } = *summary;
    let seconds = summary.seconds;
    line("requests", requests as f64, "", format!("{whole} whole, in {seconds:.1} s"));
    line("output", summary.tokens_s(), "tokens/s", format!("{tokens} tokens, {prompt_tokens} of prompts"));
    line("answers", summary.requests_s(), "/s", String::new());
    for (what, times) in [("time to first token", &summary.ttft), ("gap between tokens", &summary.gaps)] {
        for (quantile, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)] {
            line(&format!("{what}, {quantile}"), times.quantile(share), "ms", String::new());
        }
    }
    let note = format!("first token within {:.0} ms, mean gap within {:.0} ms", args.ttft_ms, args.itl_ms);
    line("goodput", good as f64 / requests.max(1) as f64, "", note);
    line("good answers", good as f64 / seconds, "/s", String::new());
    for (kind, count) in &summary.faults {
        line(&format!("errors: {kind}"), *count as f64, "", String::new());
    }
    if args.repeat_check != RepeatCheck::Off {
        let note = match &repeats.first {
            None => format!("{} compared", repeats.compared),
            Some(first) => format!("{} of {}; {first}", repeats.equal, repeats.compared),
        };
        line("equal to the answer alone", repeats.share(), "", note);
    }
}

fn plot(args: &ServeArgs, name: &str, measured: &Measured) -> Result<(), String> {
    let Some(path) = &args.plot else { return Ok(()) };
    let svg = plot::svg(name, &measured.summary, &measured.samples);
    std::fs::write(path, svg).map_err(|error| format!("--plot {}: {error}", path.display()))
}

/// Runs the load, and prints what it measured. An error if a bar does not hold.
pub(crate) fn report(args: &ServeArgs, json: bool) -> Result<(), String> {
    args.check()?;
    let server = Server::open(&args.url, args, args.model.as_ref())?;
    let report = Report::of_server("serve", json);
    if args.soak.soak_minutes.is_some() {
        return soaked(&report, args, &server);
    }
    if let Some(url) = &args.beside {
        return beside(&report, args, &server, &Server::open(url, args, None)?);
    }
    if let Some(path) = &args.trace {
        let (at_s, asks): (Vec<f64>, Vec<Ask>) = asks::of_trace(path, &args.asks)?.into_iter().unzip();
        let load = Load { args, order: (0..asks.len()).collect(), asks };
        let measured = load.run(&server, &Arrivals::Times { at_s, in_flight: args.in_flight })?;
        print(&report, "", &measured, args);
        return plot(args, &format!("{}: {}", args.url, path.display()), &measured);
    }
    let Some(share) = args.of_saturation else {
        let measured = Load::drawn(args, 0).run(&server, &args.arrivals())?;
        print(&report, "", &measured, args);
        return plot(args, &args.url, &measured);
    };
    let (full, part) = of_saturation(args, &server, share, 0)?;
    print(&report, &clients_name(args), &full, args);
    print(&report, &share_name(share), &part, args);
    plot(args, &format!("{} at {share} of saturation", args.url), &part)
}

fn clients_name(args: &ServeArgs) -> String {
    format!("{} clients", args.clients)
}

fn share_name(share: f64) -> String {
    format!("{share} of saturation")
}

/// What clients get, and what requests get that arrive at a share of that rate.
fn of_saturation(
    args: &ServeArgs,
    server: &Server,
    share: f64,
    round: u64,
) -> Result<(Measured, Measured), String> {
    let full = Load::drawn(args, 2 * round).run(server, &Arrivals::Clients(args.clients))?;
    if full.summary.whole == 0 {
        return Err(format!("no answer came whole: {:?}", full.summary.faults));
    }
    let rate = share * full.summary.requests_s();
    let part = Load::drawn(args, 2 * round + 1).run(server, &args.poisson(rate))?;
    Ok((full, part))
}

/// The figures of one kind of load that are compared, round by round.
#[derive(Default)]
struct Ratios {
    tokens: Vec<f64>,
    gaps: Vec<f64>,
}

impl Ratios {
    fn add(&mut self, ours: &Measured, theirs: &Measured) {
        self.tokens.push(ours.summary.tokens_s() / theirs.summary.tokens_s().max(1e-9));
        self.gaps.push(ours.summary.gaps.quantile(0.99) / theirs.summary.gaps.quantile(0.99).max(1e-9));
    }
}

/// Loads two servers in turns with the same requests, and compares them.
fn beside(report: &Report, args: &ServeArgs, ours: &Server, theirs: &Server) -> Result<(), String> {
    let (mut full, mut part) = (Ratios::default(), Ratios::default());
    let mut repeats = (Repeats::default(), Repeats::default());
    let count = |into: &mut Repeats, measured: &Measured| {
        into.compared += measured.repeats.compared;
        into.equal += measured.repeats.equal;
        into.first = into.first.take().or_else(|| measured.repeats.first.clone());
    };
    let share = args.of_saturation;
    for round in 0..args.rounds as u64 {
        let measure = |server: &Server| -> Result<Vec<Measured>, String> {
            match share {
                Some(share) => of_saturation(args, server, share, round).map(|(full, part)| vec![full, part]),
                None => Ok(vec![Load::drawn(args, round).run(server, &args.arrivals())?]),
            }
        };
        let (our, their) = (measure(ours)?, measure(theirs)?);
        for (i, (our, their)) in our.iter().zip(&their).enumerate() {
            let name = if i == 1 { share_name(share.unwrap_or(1.0)) } else { clients_name(args) };
            print(report, &format!("{name}, {}", args.url), our, args);
            print(report, &format!("{name}, the other"), their, args);
            if i == 1 { &mut part } else { &mut full }.add(our, their);
            count(&mut repeats.0, our);
            count(&mut repeats.1, their);
            plot(args, &format!("{}, {name}", args.url), our)?;
        }
    }
    let mut failed = 0;
    let mut bar = |line: Line, bar: Option<Bar>| {
        failed += usize::from(bar.is_some_and(|bar| !bar.holds(line.value)));
        report.line(&match bar {
            Some(bar) => line.bar(bar),
            None => line,
        });
    };
    let names = [(clients_name(args), full), (share_name(share.unwrap_or(1.0)), part)];
    for (name, ratios) in names.into_iter().filter(|(_, ratios)| !ratios.tokens.is_empty()) {
        let case = format!("{name}: tokens/s over the other's");
        bar(Line::new(case, median(ratios.tokens), "x"), args.at_least.map(Bar::AtLeast));
        let case = format!("{name}: gap, p99, over the other's");
        bar(Line::new(case, median(ratios.gaps), "x"), args.at_least.map(|_| Bar::AtMost(1.0)));
    }
    if args.repeat_check != RepeatCheck::Off {
        let equal = |case: &str, repeats: &Repeats| Line::new(case, repeats.share(), "");
        bar(equal("equal to the answer alone", &repeats.0), Some(Bar::AtLeast(1.0)));
        bar(equal("the other's", &repeats.1), None);
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} bars do not hold on this machine in this run")) }
}

/// Runs a soak and prints what became of it.
fn soaked(report: &Report, args: &ServeArgs, server: &Server) -> Result<(), String> {
    let distinct = args.asks.distinct.unwrap_or(SOAK_DISTINCT);
    let asks = asks::drawn(&args.asks, distinct, 0);
    let alone = server.alone(&asks)?;
    let of = (&asks[..], &alone[..]);
    let soaked = soak::run(&server.endpoint, &server.model, of, &args.soak, (args.clients, args.asks.seed));
    let summary = Summary::new(&soaked.samples, args.bounds());
    let measured = Measured { samples: soaked.samples, summary, repeats: soaked.repeats };
    let mut failed = 0;
    let mut bar = |line: Line, bar: Bar| {
        failed += usize::from(!bar.holds(line.value));
        report.line(&line.bar(bar));
    };
    let note = format!("{} clients left, {} failed on purpose", soaked.left, soaked.faults);
    report.line(&Line::new("requests of the soak", soaked.requests as f64, "").note(note));
    print(report, "", &measured, args);
    bar(Line::new("equal to the first answer", measured.repeats.share(), ""), Bar::AtLeast(1.0));
    let faults = measured.summary.faults.values().sum::<usize>();
    bar(Line::new("requests that failed", faults as f64, ""), Bar::AtMost(0.0));
    if args.soak.pid.is_some() {
        let memory = &soaked.memory;
        let most = memory.iter().copied().fold(0.0, f64::max) / f64::from(1 << 20);
        let note = format!("{} samples, {most:.1} MiB at most", memory.len());
        let drift = soak::drift(memory).abs();
        bar(Line::new("drift of the server's memory", drift, "").note(note), Bar::AtMost(MEMORY_DRIFT));
        bar(Line::new("deaths of the server", f64::from(u8::from(soaked.has_died)), ""), Bar::AtMost(0.0));
    }
    plot(args, &format!("{}, soak", args.url), &measured)?;
    if failed == 0 { Ok(()) } else { Err(format!("{failed} bars do not hold in this soak")) }
}
