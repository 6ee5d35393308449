//! Ends what a test process has started, also when that process is killed.

use std::process::{Child, ChildStdin, Command, Stdio};

/// A shell that waits for the end of its input, which is the end of this process or of this value,
/// and then tidies up.
pub struct Keeper {
    child: Child,
    input: Option<ChildStdin>,
}

impl Keeper {
    /// Runs `script` with sh at the end. `arguments` are its `$1`, `$2` and so on.
    pub fn start(script: &str, arguments: &[&str]) -> std::io::Result<Self> {
        use std::os::unix::process::CommandExt;
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("cat >/dev/null\n{script}"))
            .arg("keeper")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What is typed at the terminal ends the tests and not their keeper.
            .process_group(0)
            .spawn()?;
        let input = child.stdin.take();
        Ok(Self { child, input })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.input.take();
        let _ = self.child.wait();
    }
}
