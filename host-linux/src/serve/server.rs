//! What every handler can reach.
use super::active::ActiveRequests;
use super::budgets::Budgets;
use super::error::ApiError;
use super::guards::quotas::Spent;
use super::guards::state::Guards;
use super::lifecycle::Lifecycle;
use super::notice::Notice;
use super::observe::Observer;
use super::options::ServeOptions;
use super::setting::Setting;
use super::transport::traffic::Traffic;
use super::watch::metrics::Metrics;
use super::watch::tail::{Tail, Tailed};
use super::watchers::Watchers;
use crate::runtime::{EngineHandle, ServedModel};
use crate::sys::entropy;
use std::sync::{Arc, OnceLock};

/// A model, its engine, and who hears of requests.
#[derive(Debug)]
pub struct Server {
    /// The model that is served.
    pub model: Arc<ServedModel>,
    /// The engine that runs the model.
    pub engine: EngineHandle,
    /// Seconds since the epoch at which the model was loaded.
    pub created: u64,
    /// Hears of each request after its answer, and of the server.
    pub observer: Arc<dyn Observer>,
    /// What its guards know and count.
    pub guards: Guards,
    /// What requests and connections leave behind.
    pub metrics: Arc<Metrics>,
    /// What was decided about it when it was started.
    pub options: ServeOptions,
    /// What came of it, as it is told.
    pub settings: Vec<Setting>,
    /// What requests spend together.
    pub budgets: Budgets,
    /// Where it stands between its start and its end.
    pub lifecycle: Arc<Lifecycle>,
    /// What clients take of it now.
    pub traffic: Arc<Traffic>,
    /// Requests that the engine computes for now.
    pub active: ActiveRequests,
    /// The latest of what its observer was told.
    pub tail: Arc<Tail>,
    /// Those who watch it live.
    pub watchers: Watchers,
    /// The document of its API as JSON, written when somebody asks for it first.
    pub api_document: OnceLock<Vec<u8>>,
}

impl Server {
    /// A server that has not begun.
    pub fn new(
        model: Arc<ServedModel>,
        engine: EngineHandle,
        observer: Arc<dyn Observer>,
        guards: Guards,
        options: ServeOptions,
        lifecycle: Arc<Lifecycle>,
    ) -> Self {
        let tail = Arc::new(Tail::default());
        let observer = Arc::new(Tailed::new(observer, &tail));
        let budgets = Budgets::new(&options.requests, &model);
        let metrics = Arc::new(Metrics::new(model.limits.model_len));
        let settings = options.settings(&budgets.bounds);
        let budgets_with_options = settings.iter().filter(|setting| setting.refuses);
        for name in budgets_with_options.map(|setting| setting.name).chain(Spent::BUDGETS) {
            metrics.declare_budget(name);
        }
        Self {
            model,
            engine,
            created: now(),
            observer,
            guards,
            metrics,
            options,
            settings,
            budgets,
            lifecycle,
            traffic: Arc::default(),
            active: ActiveRequests::default(),
            tail,
            watchers: Watchers::default(),
            api_document: OnceLock::new(),
        }
    }

    /// Counts an error against the budget that was spent, if that is its cause.
    pub(super) fn count_refusal(&self, error: &ApiError) {
        if let Some(budget) = error.budget {
            self.metrics.refused(budget);
        }
    }

    /// Reads anew what may change while it runs (SIGHUP): the API keys.
    pub(super) fn reread(&self) {
        self.guards.reload().into_iter().for_each(|notice| self.observer.notice(&Notice::Guard(notice)));
    }
}

/// Seconds since the epoch, for the `created` fields of answers and for nothing else.
pub(super) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Draws a seed for a request without one. The error is a sentence for its client.
pub(super) fn draw_seed() -> Result<u64, String> {
    entropy::draw_seed().map_err(|error| format!("the system gave no entropy for a seed: {error}"))
}

/// Sixteen hex digits that name a request or a folder; zeros where the system has no entropy.
pub(super) fn draw_id() -> String {
    draw_seed().map_or_else(|_| "0".repeat(16), |seed| format!("{seed:016x}"))
}
