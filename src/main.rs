//! The binary: installs the crypto provider, reads the arguments, runs, and turns the outcome into
//! an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Once and first: rustls has no provider of its own here (see Cargo.toml).
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return ExitCode::from(3);
    }
    probegate::cli::main()
}
