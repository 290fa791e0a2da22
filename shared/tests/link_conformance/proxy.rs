//! A TCP proxy that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Passes connections on to one address, until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    stalled: watch::Sender<bool>,
    cuts: watch::Sender<u64>,
    open: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub async fn start(target: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Proxy::serve(listener, target)
    }

    pub fn serve(listener: TcpListener, target: String) -> Proxy {
        let address = listener.local_addr().expect("it is bound");
        let cuts = watch::channel(0).0;
        let stalled = watch::channel(false).0;
        let open = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let signals = (stalled.subscribe(), cuts.subscribe());
        tasks.spawn(accept(listener, target, signals, open.clone()));
        Proxy {
            address,
            stalled,
            cuts,
            open,
            _tasks: tasks,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nothing through on any connection while `true`; those that were open then stay stalled.
    pub fn stall(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }

    /// Drops all connections; returns how many there were.
    pub fn cut(&self) -> usize {
        let open = self.open.load(Ordering::SeqCst);
        self.cuts.send_modify(|count| *count += 1);
        open
    }
}

type Signals = (watch::Receiver<bool>, watch::Receiver<u64>);

async fn accept(listener: TcpListener, target: String, signals: Signals, open: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (target, (stalled, mut cuts), open) = (target.clone(), signals.clone(), open.clone());
        cuts.mark_unchanged();
        connections.spawn(async move {
            open.fetch_add(1, Ordering::SeqCst);
            tokio::select! {
                () = pass(client, &target, stalled) => {}
                changed = cuts.changed() => drop(changed),
            }
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Once stalled, a connection stays so: it is open, and nothing comes through.
async fn pass(mut client: TcpStream, target: &str, mut stalled: watch::Receiver<bool>) {
    if let Ok(mut server) = TcpStream::connect(target).await {
        tokio::select! {
            biased;
            () = until(&mut stalled) => std::future::pending().await,
            copied = tokio::io::copy_bidirectional(&mut client, &mut server) => drop(copied),
        }
    }
}

async fn until(stalled: &mut watch::Receiver<bool>) {
    drop(stalled.wait_for(|stalled| *stalled).await);
}
