//! What hostile clients do, one function each, all over the loopback and all bounded in number and
//! time.
//!
//! * [`target`]: what an attack is.
//! * [`bodies`]: what is in a body; [`framing`]: how requests are written; [`sockets`]: how
//!   connections are used; [`rights`]: what is asked for without a right to it.
pub mod bodies;
pub mod framing;
pub mod rights;
pub mod sockets;
pub mod target;

use target::Attack;

macro_rules! attacks {
    ($($module:ident :: $name:ident: $what:literal,)*) => {
        /// All attacks, in the order in which a server meets them.
        pub const ALL: &[Attack] =
            &[$(Attack { name: stringify!($name), what: $what, run: $module::$name },)*];
    };
}

attacks! {
    bodies::refused_unread: "a 3 MB parameter that is refused, and nobody reads the refusal",
    bodies::long_prompts: "prompts of 300 KB, none of which fits the context",
    bodies::nested_arrays: "bodies of 16 MB: [],[],...",
    bodies::long_names: "unknown parameters with names of 8 MB, and of 200 KB",
    bodies::long_values: "parameters with wrong values of 8 MB, and of 200 KB",
    bodies::stop_strings: "16 stop strings of 1 MB for 64 choices, and the most that is allowed",
    bodies::deep_json: "JSON 10,000 deep",
    bodies::wild_numbers: "numbers that are none, or are too large, too small, too long",
    framing::lying_lengths: "bodies longer or shorter than they say, and lengths that contradict",
    framing::chunk_bombs: "chunks of 2^64 bytes, of one byte, with endless extensions and trailers",
    framing::huge_heads: "heads of 10 MB: one line, one header, a hundred thousand headers",
    framing::pipelining: "10,000 requests on one connection before the first answer is read",
    framing::garbage: "bytes that are no HTTP: noise, a TLS hello, the preface of HTTP/2",
    sockets::idle_crowd: "2,000 connections from one address that never say anything",
    sockets::idle_crowd_of_many: "2,000 such connections, each from an address of its own",
    sockets::slow_heads: "heads that come byte by byte and never end",
    sockets::slow_bodies: "bodies that come byte by byte and never end",
    sockets::bursts: "a thousand connections at once, again and again",
    sockets::resets: "connections that are reset at every stage of a request",
    sockets::stopped_readers: "streams that nobody reads",
    sockets::stopped_clients: "streams of client processes that are stopped by SIGSTOP",
    rights::high_priority: "40 clients that ask for the greatest priority",
    rights::foreign_pages: "what a web page of someone else can make a browser send",
}
