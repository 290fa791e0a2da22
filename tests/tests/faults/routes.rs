//! Where the processes of a fleet find the servers.

use std::net::SocketAddr;

use anyhow::{Context, Result, anyhow};

/// The addresses that a process is given.
#[derive(Clone)]
pub struct Routes {
    pub database_url: String,
    pub amqp_url: String,
}

impl Routes {
    /// Where the real servers listen: database, broker.
    pub fn servers(&self) -> Result<(SocketAddr, SocketAddr)> {
        Ok((address(&self.database_url)?, address(&self.amqp_url)?))
    }

    /// The database behind a port of this machine.
    pub fn database_at(&mut self, port: u16) -> Result<()> {
        self.database_url = at_port(&self.database_url, port)?;
        Ok(())
    }

    /// The broker behind a port of this machine.
    pub fn broker_at(&mut self, port: u16) -> Result<()> {
        self.amqp_url = at_port(&self.amqp_url, port)?;
        Ok(())
    }
}

fn address(url: &str) -> Result<SocketAddr> {
    let url = reqwest::Url::parse(url)?;
    let (host, port) = (url.host_str().context("no host")?, url.port().context("no port")?);
    let host = if host == "localhost" { "127.0.0.1" } else { host };
    Ok(SocketAddr::new(host.parse()?, port))
}

fn at_port(url: &str, port: u16) -> Result<String> {
    let mut url = reqwest::Url::parse(url)?;
    url.set_port(Some(port)).map_err(|()| anyhow!("{url} takes no port"))?;
    Ok(url.into())
}
