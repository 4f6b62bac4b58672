//! Flags about connections: where to listen, and what clients may take.
use super::super::values::{at_least_one, port, whole};
use crate::runtime::ServedModel;
use crate::serve::transport::limits::{ConnectionLimits, body_limit};
use crate::serve::transport::listen::Listeners;
use crate::sys::sockets::raise_descriptor_limit;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// The longest token, in bytes of text, where that is not known of a tokenizer.
const TOKEN_BYTES: usize = 128;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(in crate::cli) struct ConnectionArgs {
    /// Address to listen on: an IPv4 or IPv6 address, or a host name.
    #[arg(
        long,
        env = "VERBATIM_HOST",
        value_name = "ADDRESS",
        default_value = "127.0.0.1",
        help_heading = "Server"
    )]
    host: String,
    /// Port to listen on; 0 is any that is free.
    #[arg(long, env = "VERBATIM_PORT", value_name = "N", default_value_t = 8080, value_parser = port, help_heading = "Server")]
    port: u16,
    /// Socket file to listen on too.
    ///
    /// Sockets that a service manager hands over (LISTEN_FDS) take the place of address and port.
    #[arg(long, env = "VERBATIM_UDS", value_name = "PATH", help_heading = "Server")]
    uds: Option<PathBuf>,
    /// Connections at once [default: the descriptors that the system allows less 80, at most 2048].
    #[arg(long, env = "VERBATIM_MAX_CONNECTIONS", value_name = "N", value_parser = at_least_one)]
    max_connections: Option<usize>,
    /// Connections at once from one address [default: half of all].
    #[arg(long, env = "VERBATIM_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N", value_parser = at_least_one)]
    max_connections_per_address: Option<usize>,
    /// Bytes of a request's body [default: what fills the context with the longest tokens, at least
    /// 262144].
    #[arg(long, env = "VERBATIM_MAX_BODY_BYTES", value_name = "N", value_parser = at_least_one)]
    max_body_bytes: Option<usize>,
    /// Bytes of all bodies that are in memory at once, besides files that are sent to be kept, of
    /// which two of the largest have room [default: four times that of one, at least 67108864].
    #[arg(long, env = "VERBATIM_MAX_TOTAL_BODY_BYTES", value_name = "N", value_parser = at_least_one)]
    max_total_body_bytes: Option<usize>,
    /// Seconds for the head of a request, from its first byte.
    #[arg(long, env = "VERBATIM_HEAD_SECONDS", value_name = "N", default_value_t = 20, value_parser = whole::<u32>)]
    head_seconds: u32,
    /// Seconds for the body of a request.
    #[arg(long, env = "VERBATIM_BODY_SECONDS", value_name = "N", default_value_t = 120, value_parser = whole::<u32>)]
    body_seconds: u32,
    /// Seconds that a connection may be idle between requests.
    #[arg(long, env = "VERBATIM_IDLE_SECONDS", value_name = "N", default_value_t = 75, value_parser = whole::<u32>)]
    idle_seconds: u32,
    /// Seconds that a client may keep the server waiting while it reads 64 KiB of its answer.
    #[arg(long, env = "VERBATIM_WRITE_SECONDS", value_name = "N", default_value_t = 60, value_parser = whole::<u32>)]
    write_seconds: u32,
    /// Seconds that requests may go on after SIGTERM; then they end with an error from which they
    /// can be resumed.
    #[arg(long, env = "VERBATIM_DRAIN_SECONDS", value_name = "N", default_value_t = 30, value_parser = whole::<u32>)]
    drain_seconds: u32,
}

impl ConnectionArgs {
    /// The address to listen on, as it was given.
    pub(in crate::cli) fn host(&self) -> &str {
        &self.host
    }

    /// The sockets to listen on.
    pub(in crate::cli) fn listen(&self) -> Result<Listeners, String> {
        let mut listeners = Listeners::inherited().map_err(|error| error.to_string())?;
        if listeners.is_empty() {
            listeners.bind(&self.host, self.port).map_err(|error| error.to_string())?;
        }
        if let Some(path) = &self.uds {
            listeners.bind_unix(path).map_err(|error| format!("--uds {error}"))?;
        }
        Ok(listeners)
    }

    /// The limits for a model, within what the system allows.
    pub(in crate::cli) fn limits(&self, model: &ServedModel) -> ConnectionLimits {
        let longest = model.tokenizer.token_bytes_max().unwrap_or(TOKEN_BYTES);
        self.limits_for(raise_descriptor_limit(), body_limit(model.limits.model_len, longest))
    }

    fn limits_for(&self, descriptors: usize, model_body: usize) -> ConnectionLimits {
        let body_bytes = self.max_body_bytes.unwrap_or(model_body);
        let default = ConnectionLimits::new(descriptors, body_bytes);
        let most = ConnectionLimits::most_connections(descriptors);
        let connections = self.max_connections.map_or(default.connections, |given| given.min(most));
        let share = ConnectionLimits::share_of(connections);
        let seconds = |count: u32| Duration::from_secs(count.into());
        ConnectionLimits {
            connections,
            per_address: self.max_connections_per_address.unwrap_or(share).min(connections),
            body_bytes,
            total_body_bytes: self.max_total_body_bytes.unwrap_or(default.total_body_bytes),
            head_time: seconds(self.head_seconds),
            body_time: seconds(self.body_seconds),
            idle_time: seconds(self.idle_seconds),
            write_time: seconds(self.write_seconds),
            drain_time: seconds(self.drain_seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Arguments;
    use clap::Parser;

    fn limits(args: &[&str]) -> ConnectionLimits {
        let arguments = Arguments::try_parse_from([&["verbatim"], args].concat()).unwrap();
        arguments.serve.connections.limits_for(1024, 1 << 20)
    }

    #[test]
    fn flags_and_library_have_the_same_defaults() {
        assert_eq!(limits(&[]), ConnectionLimits::new(1024, 1 << 20));
    }

    #[test]
    fn what_is_given_bounds_what_follows_from_it() {
        let given =
            limits(&["--max-connections", "100", "--max-body-bytes", "40000000", "--idle-seconds", "3"]);
        assert_eq!((given.connections, given.per_address), (100, 50));
        assert_eq!((given.body_bytes, given.total_body_bytes), (40_000_000, 160_000_000));
        assert_eq!(given.idle_time, Duration::from_secs(3));
        let beyond = limits(&["--max-connections", "5000", "--max-connections-per-address", "4000"]);
        assert_eq!((beyond.connections, beyond.per_address), (944, 944), "descriptors are the bound");
        assert!(Arguments::try_parse_from(["verbatim", "--max-connections", "0"]).is_err());
    }
}
