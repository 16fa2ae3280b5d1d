//! The `fanwire` program.

use std::process::ExitCode;

// Sanitizers watch the system's allocator (tests/sanitize).
#[cfg(not(system_allocator))]
#[global_allocator]
static ALLOCATOR: fanwire::node::memory::Allocator = fanwire::node::memory::Allocator;

fn main() -> ExitCode {
    fanwire::cli::run(std::env::args_os(), |loaded| match fanwire::node::boot::run(&loaded.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("fanwire: {message}");
            ExitCode::FAILURE
        }
    })
}
