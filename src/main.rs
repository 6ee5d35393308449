//! The binary: installs the crypto provider, reads the arguments, runs, and turns the outcome into
//! an exit code.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// The system's gives each thread a heap of its own, and what one has freed is of no use to another:
/// with ten thousand probes that is half of the memory. `.cargo/config.toml` says how this one keeps it.
#[global_allocator]
static HEAP: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    // Once and first: rustls has no provider of its own here (see Cargo.toml).
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return ExitCode::from(3);
    }
    probegate::cli::main()
}
