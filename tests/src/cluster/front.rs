//! A front: one core and one link, through which every request and every event of its streams
//! goes in order.
use super::settings::FrontSettings;

/// One front, which does everything in order of arrival.
#[derive(Clone, Debug, Default)]
pub(super) struct Front {
    /// When its core, and when its link, has done all that it was given.
    core_free_ns: u64,
    link_free_ns: u64,
    /// What its core has worked and its link has carried.
    pub(super) busy_ns: u64,
    pub(super) bytes: u64,
}

impl Front {
    /// Takes a request with so many tokens at `now`. Returns when it has gone on.
    pub(super) fn request_ns(&mut self, settings: &FrontSettings, now_ns: u64, tokens: u32) -> u64 {
        let bytes = settings.request_bytes + settings.token_bytes * u64::from(tokens);
        self.pass(settings, now_ns, settings.request_ns, bytes)
    }

    /// Takes an event with so many tokens at `now`. Returns when the client has it.
    pub(super) fn event_ns(&mut self, settings: &FrontSettings, now_ns: u64, tokens: u32) -> u64 {
        let bytes = settings.event_bytes + settings.token_bytes * u64::from(tokens);
        self.pass(settings, now_ns, settings.event_ns, bytes)
    }

    fn pass(&mut self, settings: &FrontSettings, now_ns: u64, work_ns: u64, bytes: u64) -> u64 {
        self.busy_ns += work_ns;
        self.bytes += bytes;
        self.core_free_ns = self.core_free_ns.max(now_ns) + work_ns;
        let carried_ns = (bytes * 8).saturating_mul(1_000_000_000) / settings.link_bits;
        self.link_free_ns = self.link_free_ns.max(self.core_free_ns) + carried_ns;
        self.link_free_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_wait_for_each_other_on_the_core_and_on_the_link() {
        let settings = FrontSettings {
            event_ns: 1000,
            event_bytes: 100,
            token_bytes: 0,
            link_bits: 1_000_000_000,
            ..FrontSettings::on_ray(1)
        };
        let mut front = Front::default();
        // 100 bytes take 800 ns of the link, while the core works on the next event.
        assert_eq!([0, 0, 5000].map(|now| front.event_ns(&settings, now, 1)), [1800, 2800, 6800]);
        let slow = FrontSettings { link_bits: 100_000_000, ..settings };
        let mut front = Front::default();
        assert_eq!([0, 0, 0].map(|now| front.event_ns(&slow, now, 1)), [9000, 17_000, 25_000]);
        assert_eq!((front.busy_ns, front.bytes), (3000, 300));
    }
}
