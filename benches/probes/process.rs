//! Processes on cores of their own, and what the kernel knows of them.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// A process; it ends with this value, and with this program however that ends.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `program` on `cores`, such as `0` or `0,1`; what it says goes to `log`.
    pub fn start<A: AsRef<str>>(cores: &str, program: &Path, arguments: &[A], log: &Path) -> anyhow::Result<Self> {
        let log = File::create(log).with_context(|| format!("writing {}", log.display()))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "taskset", "-c", cores])
            .arg(program)
            .args(arguments.iter().map(AsRef::as_ref))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("setpriv and taskset, of util-linux, are needed")?;
        Ok(Self { child })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails when it has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            anyhow::bail!("a process of the bench ended with {status}");
        }
        Ok(())
    }

    /// Processor time used so far, user and system, in seconds.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        cpu_of(&self.id().to_string())
    }

    /// Resident memory in MB.
    pub fn resident(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kilobytes: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
        Ok(kilobytes / 1_024.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time of a process, user and system, in seconds; the kernel counts in hundredths.
pub fn cpu_of(process: &str) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("no fields")?.split_whitespace().collect();
    let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|text| text.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}

/// Binds this process to `cores`.
pub fn stay_on(cores: &str) -> anyhow::Result<()> {
    let pinned = Command::new("taskset").args(["-apc", cores, &std::process::id().to_string()]).output()?;
    anyhow::ensure!(pinned.status.success(), "this bench needs two cores");
    Ok(())
}

/// How busy the machine is, as the kernel averages it over a minute.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}
