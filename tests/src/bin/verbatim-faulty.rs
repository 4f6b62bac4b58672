//! The program once more, for tests of the supervision: built with a test, it has the points at
//! which `VERBATIM_FAULTS` plants faults (`host-linux/src/faults.rs`); built otherwise it has none.
use std::process::ExitCode;

fn main() -> ExitCode {
    verbatim::cli::main()
}
