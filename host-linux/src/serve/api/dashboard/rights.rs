//! What whoever watches may see and cancel.
use super::event::RightsPart;
use crate::serve::active::Sender;
use crate::serve::exchange::Exchange;
use crate::serve::guards::origins;
use crate::serve::watch::tail::Audience;
use std::net::IpAddr;
use std::sync::Arc;

const NO_KEYS: &str = "this server has no API keys, so only clients on its own machine may cancel; \
                       start it with a key that has admin=true (option api-key-file) to cancel from elsewhere";
const NO_ADMIN: &str = "this key may cancel its own requests alone; one with admin=true in the file of keys may \
                        cancel all";

/// Headers of requests that a program before the server has passed on, for somebody anywhere.
const FORWARDED: [&str; 4] = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];

/// Who watches or asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// Sees all, and cancels all: a key that may, or, where there are no keys, a program on the
    /// same machine.
    All,
    /// Sees all, and cancels nothing: there are no keys, and it comes from another machine, or from
    /// a page of another origin.
    Watch,
    /// Sees and cancels what keys of this owner have asked for.
    Own(Arc<str>),
}

/// Whether an address is of the machine itself.
fn is_own_machine(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether a page of another origin asks: that its browser is on this machine does not make it a
/// program of whoever sits there.
fn is_of_others(exchange: &Exchange<'_>) -> bool {
    let is_own = |origin: &str| exchange.header("host").is_some_and(|host| origins::is_own(origin, host));
    exchange.header("origin").is_some_and(|origin| !is_own(origin))
}

impl Rights {
    /// Those of a request that a guard has let in.
    pub(super) fn of(exchange: &Exchange<'_>) -> Self {
        match &exchange.key {
            Some(key) if key.limits.is_admin => Self::All,
            Some(key) => Self::Own(Arc::clone(&key.owner)),
            None => {
                let is_near = exchange.peer().is_none_or(is_own_machine);
                let is_passed_on = FORWARDED.into_iter().any(|name| exchange.header(name).is_some());
                if is_near && !is_passed_on && !is_of_others(exchange) { Self::All } else { Self::Watch }
            }
        }
    }

    /// Whether the id, route and key of a request may be seen.
    pub(super) fn sees(&self, sender: &Sender) -> bool {
        match self {
            Self::All | Self::Watch => true,
            Self::Own(owner) => sender.owner.as_ref() == Some(owner),
        }
    }

    /// Whether a line of the log may be seen.
    pub(super) fn hears(&self, audience: &Audience) -> bool {
        match (self, audience) {
            (Self::All | Self::Watch, _) | (_, Audience::All) => true,
            (Self::Own(owner), Audience::Owner(of)) => of == owner,
            (Self::Own(_), Audience::Operator) => false,
        }
    }

    /// Whether a request may be cancelled.
    pub(super) fn may_cancel(&self, sender: &Sender) -> bool {
        *self != Self::Watch && self.sees(sender)
    }

    /// How that is told.
    pub(super) fn told(&self) -> RightsPart {
        match self {
            Self::All => RightsPart { cancel: "all", reason: None },
            Self::Own(_) => RightsPart { cancel: "own", reason: Some(NO_ADMIN) },
            Self::Watch => RightsPart { cancel: "none", reason: Some(NO_KEYS) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_sees_its_own() {
        let own = Rights::Own("name ann".into());
        let sender = |owner: Option<&str>| Sender { owner: owner.map(Arc::from), ..Sender::default() };
        let (anns, bobs, nobodys) = (sender(Some("name ann")), sender(Some("name bob")), sender(None));
        for (rights, sees, cancels) in [
            (&Rights::All, [true; 3], [true; 3]),
            (&Rights::Watch, [true; 3], [false; 3]),
            (&own, [true, false, false], [true, false, false]),
        ] {
            assert_eq!([&anns, &bobs, &nobodys].map(|of| rights.sees(of)), sees, "{rights:?}");
            assert_eq!([&anns, &bobs, &nobodys].map(|of| rights.may_cancel(of)), cancels, "{rights:?}");
        }
        let of = |owner: &str| Audience::Owner(owner.into());
        let lines = [Audience::All, of("name ann"), of("name bob"), Audience::Operator];
        assert_eq!(lines.clone().map(|line| own.hears(&line)), [true, true, false, false]);
        assert!(lines.iter().all(|line| Rights::Watch.hears(line)));
        assert_eq!([&Rights::All, &own, &Rights::Watch].map(|of| of.told().cancel), ["all", "own", "none"]);
    }

    #[test]
    fn the_loopback_is_the_machine_itself() {
        for (address, is_own) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.1", false),
            ("::", false),
        ] {
            assert_eq!(is_own_machine(address.parse().unwrap()), is_own, "{address}");
        }
    }
}
