//! Whether helpers pay, on this machine and now: steps on all workers are compared by their time
//! with steps on the calling thread alone.
//!
//! With more busy threads than CPUs a worker is descheduled for whole time slices, often with a
//! task in its hands, and the caller stalls. How that weighs against what the worker does in
//! between depends on the system's scheduler and on the neighbours, so it is measured:
//!
//! * Steps are judged by class, a power of two of their size: the time of a unit of size is a mean
//!   over windows of [`WINDOW_NS`], for each of the two modes.
//! * While helpers do their part and the caller hardly waits, a quiet machine, there is nothing to
//!   compare: steps run together, and nothing is tried.
//! * Otherwise the other mode is tried for a window, for more while it looks better, and for less
//!   where it is plainly worse. The faster one stays, and the next trial comes after [`PATIENCE`]
//!   times the last one's time: trials cost a share of the time that does not depend on how bad the
//!   other mode is.
//! * A step longer than [`LONG_STEP_NS`], a prefill of many rows, is not tried alone: a stall is
//!   short beside it, and the trial would be long.
//!
//! It never decides what is computed: it has no say in how an operation is cut.

/// ns of steps that are compared at once: several time slices of the system's scheduler.
const WINDOW_NS: f64 = 20e6;
/// The time from one trial to the next, in lengths of the last trial.
const PATIENCE: f64 = 80.0;
/// The time to the next trial, in those lengths, when the machine seems to have changed.
const IMPATIENCE: f64 = 40.0;
/// A mode is faster if it takes less than this share of the other's time.
const FASTER: f64 = 0.97;
/// A window is cut short after this time if it is plainly bad: a trial that takes
/// [`PLAINLY_WORSE`] times the present mode's time, or a caller that waited for half of it.
const GIVEN_UP_NS: f64 = 2e6;
/// A trial whose unit takes this many times the present mode's is given up.
const PLAINLY_WORSE: f64 = 1.5;
/// Steps longer than this always run together.
const LONG_STEP_NS: f64 = 500e6;
/// The maximum number of windows of a trial.
const TRIAL_WINDOWS: u32 = 3;
/// The number of classes of steps, one for each highest bit of their size.
const CLASSES: usize = usize::BITS as usize;

/// How a step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// What is worth it is handed out.
    Together,
    /// Everything runs on the calling thread.
    Alone,
}

impl Mode {
    fn other(self) -> Self {
        match self {
            Self::Together => Self::Alone,
            Self::Alone => Self::Together,
        }
    }
}

/// Where the time of a step, or of a window of steps, went, in ns.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StepTimes {
    /// From beginning to end.
    pub(super) wall: f64,
    /// The caller waited for tasks that others had claimed.
    pub(super) waited: f64,
    /// What was handed out, as it would take one thread.
    pub(super) shared: f64,
    /// The part of `shared` that helpers ran.
    pub(super) helped: f64,
}

impl StepTimes {
    /// Whether helpers do at least 60% of their part, and the caller waits for less than a tenth
    /// of the time; so too where nothing was worth handing out.
    fn are_healthy(&self, helpers: usize) -> bool {
        let part = self.shared * helpers as f64 / (helpers + 1) as f64;
        self.helped >= 0.6 * part && self.waited <= 0.1 * self.wall
    }
}

/// What is known of steps of about one size.
#[derive(Clone, Copy, Debug)]
struct Class {
    mode: Mode,
    /// ns a unit of size, by mode; 0 is unknown.
    unit_ns: [f64; 2],
    /// The steps since the last judgement, and their sizes' sum.
    window: StepTimes,
    units: f64,
    /// Windows of a trial of the other mode, the present one included; 0 is none.
    trial: u32,
    trial_ns: f64,
    since_trial_ns: f64,
}

/// The comparison of the two modes, class by class.
#[derive(Debug)]
pub(super) struct Judge {
    helpers: usize,
    classes: [Option<Class>; CLASSES],
    /// The mode that was found last in any class; a new class begins with it.
    recent: Mode,
}

impl Judge {
    /// Takes the machine for quiet until steps say otherwise.
    pub(super) fn new(helpers: usize) -> Self {
        Self { helpers, classes: [None; CLASSES], recent: Mode::Together }
    }

    fn class(&mut self, size: usize) -> &mut Class {
        let mode = self.recent;
        self.classes[size.max(1).ilog2() as usize].get_or_insert(Class {
            mode,
            unit_ns: [0.0; 2],
            window: StepTimes::default(),
            units: 0.0,
            trial: 0,
            trial_ns: 0.0,
            since_trial_ns: 0.0,
        })
    }

    /// Says how the next step of this size runs.
    pub(super) fn mode(&mut self, size: usize) -> Mode {
        let class = self.class(size);
        if class.trial > 0 { class.mode.other() } else { class.mode }
    }

    /// Notes a step that ran as [`Judge::mode`] says.
    pub(super) fn note(&mut self, size: usize, step: &StepTimes) {
        let helpers = self.helpers;
        let class = self.class(size);
        class.window.wall += step.wall;
        class.window.waited += step.waited;
        class.window.shared += step.shared;
        class.window.helped += step.helped;
        class.units += size.max(1) as f64;
        let unit_ns = class.window.wall / class.units;
        let is_worse = class.trial > 0 && unit_ns > PLAINLY_WORSE * class.unit_ns[class.mode as usize];
        let is_stalled = class.window.waited > 0.5 * class.window.wall;
        let is_hopeless = class.window.wall >= GIVEN_UP_NS && (is_worse || is_stalled);
        if class.window.wall >= WINDOW_NS || is_hopeless {
            self.recent = class.close_window(helpers);
        }
    }
}

impl Class {
    /// Judges by the window that has ended, and begins the next; returns the mode from now on.
    fn close_window(&mut self, helpers: usize) -> Mode {
        let window = std::mem::take(&mut self.window);
        let unit_ns = window.wall / std::mem::take(&mut self.units);
        let current = self.mode;
        let ran = if self.trial > 0 { current.other() } else { current };
        let mean = &mut self.unit_ns[ran as usize];
        let before = *mean;
        *mean = if before == 0.0 { unit_ns } else { 0.5 * (before + unit_ns) };
        let is_long = window.wall > LONG_STEP_NS + WINDOW_NS; // so its last step alone is
        if is_long || ran == Mode::Together && window.are_healthy(helpers) {
            *mean = unit_ns;
            self.decide(Mode::Together);
        } else if self.trial > 0 {
            self.trial_ns += window.wall;
            let looks_faster = unit_ns < FASTER * self.unit_ns[current as usize];
            let is_faster = self.unit_ns[ran as usize] < FASTER * self.unit_ns[current as usize];
            if looks_faster && self.trial < TRIAL_WINDOWS && !(is_faster && self.trial > 1) {
                self.trial += 1;
            } else {
                self.decide(if is_faster { ran } else { current });
            }
        } else {
            self.since_trial_ns += window.wall;
            let other = self.unit_ns[current.other() as usize];
            // Alone became faster: neighbours may have left. Together became slower than alone was.
            let has_changed = match current {
                Mode::Alone => unit_ns < 0.7 * before,
                Mode::Together => unit_ns > other,
            };
            let patience = if has_changed { IMPATIENCE } else { PATIENCE };
            if other == 0.0 || self.since_trial_ns > patience * self.trial_ns {
                self.trial = 1;
                self.trial_ns = 0.0;
            }
        }
        self.mode
    }

    fn decide(&mut self, mode: Mode) {
        self.mode = mode;
        self.trial = 0;
        self.since_trial_ns = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ns of a step together and alone, whether helpers do their part, for so many ns; returns the
    /// time taken over the time that the better mode takes.
    fn play(judge: &mut Judge, together: f64, alone: f64, healthy: bool, until: f64) -> f64 {
        let (mut time, mut steps) = (0.0, 0.0);
        while time < until {
            let wall = if judge.mode(1000) == Mode::Alone { alone } else { together };
            let waited = if healthy { 0.0 } else { 0.5 * wall };
            let times = StepTimes { wall, waited, shared: alone, helped: alone / 2.0 };
            judge
                .note(1000, &if wall == together { times } else { StepTimes { wall, ..Default::default() } });
            time += wall;
            steps += 1.0;
        }
        time / (steps * together.min(alone))
    }

    #[test]
    fn on_a_quiet_machine_nothing_is_tried() {
        let mut judge = Judge::new(1);
        assert_eq!(play(&mut judge, 50e6, 100e6, true, 100e9), 1.0);
    }

    #[test]
    fn a_stall_costs_a_share_of_the_time_however_long_it_is() {
        for stalled in [95e3, 200e3, 6e6, 64e6] {
            let mut judge = Judge::new(1);
            play(&mut judge, stalled, 90e3, false, 2e9); // it learns
            let lost = play(&mut judge, stalled, 90e3, false, 20e9);
            assert!(lost < 1.03, "{stalled}: {lost}");
        }
    }

    #[test]
    fn long_steps_run_together() {
        let mut judge = Judge::new(1);
        assert_eq!(play(&mut judge, 600e6, 1200e6, false, 100e9), 1.0);
    }

    #[test]
    fn what_helps_is_kept_though_it_is_not_healthy() {
        let mut judge = Judge::new(1);
        play(&mut judge, 120e6, 200e6, false, 2e9);
        let lost = play(&mut judge, 120e6, 200e6, false, 100e9);
        assert!(lost < 1.02, "{lost}");
    }

    #[test]
    fn neighbours_that_leave_are_noticed() {
        let mut judge = Judge::new(1);
        play(&mut judge, 400e6, 200e6, false, 20e9);
        assert_eq!(judge.mode(1000), Mode::Alone);
        play(&mut judge, 50e6, 100e6, true, 20e9);
        assert_eq!(play(&mut judge, 50e6, 100e6, true, 20e9), 1.0);
        // A class that is new begins with what was found last.
        assert_eq!(judge.mode(1 << 30), Mode::Together);
        play(&mut judge, 400e6, 200e6, false, 5e9);
        assert_eq!(judge.mode(1 << 31), Mode::Alone);
    }
}
