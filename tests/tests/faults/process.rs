//! A process of the fleet, and the signals it may get.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

/// The program under test: that of the environment, or the one built beside this test.
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("REJOIN_BIN") {
        return named.into();
    }
    let exe = std::env::current_exe().expect("a test has a file");
    exe.ancestors().nth(2).expect("target/PROFILE/deps/test").join("rejoin")
}

/// A process of the fleet. Dropped, it is killed.
pub struct Process {
    pub name: String,
    child: Child,
}

impl Process {
    /// Starts it; what it says goes to `log`.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Process> {
        let out = std::fs::File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Process {
            name: name.to_owned(),
            child,
        })
    }

    /// Sends a signal by name.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill")
            .args([&format!("-{signal}"), &self.child.id().to_string()])
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(anyhow!("kill -{signal} {} failed", self.name))
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, and waits until it has ended by itself.
    pub async fn end(&mut self, within: Duration) -> Result<()> {
        self.signal("TERM")?;
        let began = Instant::now();
        while self.is_alive() {
            if began.elapsed() > within {
                bail!("{} did not end within {within:?} of SIGTERM", self.name);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// SIGSTOP, and SIGCONT after a while; fails where the kernel does not show that it stood still.
    pub async fn stand_still(&self, time: Duration) -> Result<()> {
        self.signal("STOP")?;
        tokio::time::sleep(time).await;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()));
        self.signal("CONT")?;
        // `pid (name) state …`, and names may hold brackets.
        let stat = stat?;
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        ensure!(
            state == Some('T'),
            "{} went on in spite of SIGSTOP: {state:?}",
            self.name
        );
        Ok(())
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_alive() {
            // Nothing is left to do about a process that cannot be killed.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
