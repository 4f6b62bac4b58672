//! Faults on purpose, for tests: named points at which a panic or a pause can be asked for.
//!
//! Only a build with the feature `faults` *and* debug assertions has the points. In every other
//! build, and so in every release, each of them is an empty function, and nothing reads the list.
//!
//! A list says which passings of which points fail: `step@37,job@100,template@2` panics at the 37th
//! step, at the 100th task of the pool and at the second template; `step@5:2000ms` lasts two
//! seconds longer instead. Passings are counted from the moment at which the list is armed, on all
//! threads together.

/// Where a fault can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A request is taken by the engine.
    Submit,
    /// A step of the served model begins.
    Step,
    /// A step of the draft model begins.
    Draft,
    /// A task of the pool begins.
    Job,
    /// A task of the pool that draws tokens begins.
    Sampling,
    /// A conversation is rendered.
    Template,
    /// A text is about to be tokenized.
    Tokenizer,
    /// Ids become text: twice for each token of an output.
    Detokenizer,
    /// The handler of a generating endpoint begins.
    Handler,
    /// A streaming handler is about to send an event.
    Stream,
}

impl Point {
    /// All points, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Submit,
        Self::Step,
        Self::Draft,
        Self::Job,
        Self::Sampling,
        Self::Template,
        Self::Tokenizer,
        Self::Detokenizer,
        Self::Handler,
        Self::Stream,
    ];

    /// The name of the point in a list.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Step => "step",
            Self::Draft => "draft",
            Self::Job => "job",
            Self::Sampling => "sampling",
            Self::Template => "template",
            Self::Tokenizer => "tokenizer",
            Self::Detokenizer => "detokenize",
            Self::Handler => "handler",
            Self::Stream => "stream",
        }
    }
}

#[cfg(all(feature = "faults", debug_assertions))]
pub use armed::{arm, arm_from_env, disarm, passed, point};

#[cfg(not(all(feature = "faults", debug_assertions)))]
pub use absent::{arm_from_env, point};

#[cfg(not(all(feature = "faults", debug_assertions)))]
mod absent {
    use super::Point;

    /// A place where nothing fails: this build has no faults.
    #[inline(always)]
    pub fn point(_: Point) {}

    /// Reads nothing: this build has no faults.
    #[inline(always)]
    pub fn arm_from_env() -> Result<(), String> {
        Ok(())
    }
}

#[cfg(all(feature = "faults", debug_assertions))]
mod armed {
    use super::Point;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    /// The environment variable that the program reads a list from.
    const VARIABLE: &str = "VERBATIM_FAULTS";

    /// What happens at a point.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Action {
        Panic,
        Pause(Duration),
    }

    /// An entry of the list.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Fault {
        point: Point,
        /// The passing at which it happens, counted from 1.
        passing: u64,
        action: Action,
    }

    #[derive(Debug)]
    struct Plan {
        faults: Vec<Fault>,
        /// Passings of each point since the plan was armed.
        passed: [u64; Point::ALL.len()],
    }

    static IS_ARMED: AtomicBool = AtomicBool::new(false);
    static PLAN: Mutex<Plan> = Mutex::new(Plan { faults: Vec::new(), passed: [0; Point::ALL.len()] });

    fn plan() -> MutexGuard<'static, Plan> {
        PLAN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads an entry, as `step@37` or `step@5:2000ms`.
    fn parse(entry: &str) -> Result<Fault, String> {
        let wrong =
            || format!("{entry:?} is no fault: expected POINT@PASSING or POINT@PASSING:MILLISECONDSms");
        let (name, when) = entry.split_once('@').ok_or_else(wrong)?;
        let point = Point::ALL.into_iter().find(|point| point.name() == name).ok_or_else(wrong)?;
        let (passing, pause) = when.split_once(':').map_or((when, None), |(at, pause)| (at, Some(pause)));
        let passing = passing.parse().map_err(|_| wrong())?;
        let action = match pause {
            None => Action::Panic,
            Some(pause) => {
                let ms = pause.strip_suffix("ms").and_then(|ms| ms.parse().ok()).ok_or_else(wrong)?;
                Action::Pause(Duration::from_millis(ms))
            }
        };
        Ok(Fault { point, passing, action })
    }

    /// Arms a list in place of the last one, and counts from zero.
    pub fn arm(list: &str) -> Result<(), String> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let faults = entries.map(parse).collect::<Result<Vec<_>, _>>()?;
        *plan() = Plan { faults, passed: [0; Point::ALL.len()] };
        IS_ARMED.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Arms the list of the environment, if there is one.
    pub fn arm_from_env() -> Result<(), String> {
        std::env::var(VARIABLE).map_or(Ok(()), |list| arm(&list))
    }

    /// Nothing fails any more.
    pub fn disarm() {
        IS_ARMED.store(false, Ordering::SeqCst);
    }

    /// How often a point was passed since a list was armed.
    pub fn passed(point: Point) -> u64 {
        plan().passed[point as usize]
    }

    /// Passes a point, at which something happens if the list says so.
    pub fn point(point: Point) {
        if !IS_ARMED.load(Ordering::Relaxed) {
            return;
        }
        let (passing, action) = {
            let mut plan = plan();
            plan.passed[point as usize] += 1;
            let passing = plan.passed[point as usize];
            let fault = plan.faults.iter().find(|fault| (fault.point, fault.passing) == (point, passing));
            (passing, fault.map(|fault| fault.action))
        };
        match action {
            None => {}
            Some(Action::Pause(pause)) => std::thread::sleep(pause),
            Some(Action::Panic) => panic!("a fault on purpose: {}@{passing}", point.name()),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_list_is_read() {
            let fault = |point, passing, action| Fault { point, passing, action };
            assert_eq!(parse("step@37"), Ok(fault(Point::Step, 37, Action::Panic)));
            let pause = Action::Pause(Duration::from_millis(20));
            assert_eq!(parse("job@1:20ms"), Ok(fault(Point::Job, 1, pause)));
            for wrong in ["step", "step@", "step@x", "steps@1", "step@1:20", "step@1:xms"] {
                assert!(parse(wrong).is_err(), "{wrong}");
            }
        }
    }
}
