//! The `fanwire` program.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    fanwire::cli::run(std::env::args_os(), |loaded| match fanwire::node::boot::run(&loaded.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("fanwire: {message}");
            ExitCode::FAILURE
        }
    })
}
