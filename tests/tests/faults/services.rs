//! The servers that all share (`scripts/services`), stopped, started and emptied.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

/// The project's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the project")
        .to_owned()
}

/// A blow to all queues that RabbitMQ holds ready: `rabbitmqctl` takes seconds to start, in which the run would end.
pub struct Blow {
    verb: &'static str,
    child: Child,
    /// What the node waits for. Where its user can see it, which the fleet's folder is not.
    trigger: PathBuf,
}

impl Blow {
    /// `scripts/services rabbit VERB`, which waits for [`Blow::strike`].
    pub fn arm(verb: &'static str) -> Result<Blow> {
        let name = format!("rejoin-strike-{}", uuid::Uuid::new_v4().simple());
        let trigger = std::env::temp_dir().join(name);
        let child = Command::new(root().join("scripts/services"))
            .args(["rabbit", verb])
            .arg(&trigger)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut blow = Blow { verb, child, trigger };
        let armed = blow.armed();
        while !armed.exists() {
            if let Some(status) = blow.child.try_wait()? {
                return Err(anyhow!(
                    "scripts/services rabbit {verb} ended before it was armed: {status}"
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        std::fs::remove_file(armed)?;
        Ok(blow)
    }

    /// The file that is there once it can strike.
    fn armed(&self) -> PathBuf {
        PathBuf::from(format!("{}.armed", self.trigger.display()))
    }

    /// Strikes; a fault is one only if it hit messages or queues.
    pub fn strike(self) -> Result<()> {
        std::fs::write(&self.trigger, "")?;
        let output = self.child.wait_with_output();
        std::fs::remove_file(&self.trigger)?;
        let output = output?;
        let text = String::from_utf8_lossy(&output.stdout);
        let hit: u64 = text
            .trim()
            .parse()
            .with_context(|| format!("scripts/services rabbit {} printed {text:?}", self.verb))?;
        println!("{} hit {hit}", self.verb);
        if hit > 0 {
            Ok(())
        } else {
            Err(anyhow!("nothing was there to be hit: the fault did not strike"))
        }
    }
}

/// `scripts/services WHAT…`, and what it printed.
pub fn services_say(what: &[&str]) -> Result<String> {
    let output = Command::new(root().join("scripts/services"))
        .args(what)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        Err(anyhow!(
            "scripts/services {what:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

/// `scripts/services WHAT…`: stops, starts, empties the servers.
pub fn services(what: &[&str]) -> Result<()> {
    let status = Command::new(root().join("scripts/services"))
        .args(what)
        .stdin(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(anyhow!("scripts/services {what:?} failed"))
    }
}
