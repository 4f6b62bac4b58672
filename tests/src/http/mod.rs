//! HTTP as a test speaks it: byte by byte, well or badly, and always within bounds.
//!
//! * [`answer`]: reads answers off a connection; [`events`]: the events of a streamed one.
//! * [`connection`]: one client; [`crowd`]: a thousand that do the same.
//! * [`good`]: clients whose streams must come whole, with the bits that they have alone, and the
//!   probe of /health.
//! * [`watched`]: descriptors, threads and memory of the server.
//! * [`attacks`]: what hostile clients do, one function each.
//! * [`arena`]: a server with good clients, which faces one attack after another.
pub mod answer;
pub mod arena;
pub mod attacks;
pub mod connection;
pub mod crowd;
pub mod events;
pub mod good;
pub mod watched;
