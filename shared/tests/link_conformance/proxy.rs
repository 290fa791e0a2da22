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
        let open = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, cuts.subscribe(), open.clone()));
        Proxy {
            address,
            cuts,
            open,
            _tasks: tasks,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drops all connections; returns how many there were.
    pub fn cut(&self) -> usize {
        let open = self.open.load(Ordering::SeqCst);
        self.cuts.send_modify(|count| *count += 1);
        open
    }
}

async fn accept(listener: TcpListener, target: String, cuts: watch::Receiver<u64>, open: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (target, mut cuts, open) = (target.clone(), cuts.clone(), open.clone());
        cuts.mark_unchanged();
        connections.spawn(async move {
            open.fetch_add(1, Ordering::SeqCst);
            tokio::select! {
                () = pass(client, &target) => {}
                changed = cuts.changed() => drop(changed),
            }
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn pass(mut client: TcpStream, target: &str) {
    if let Ok(mut server) = TcpStream::connect(target).await {
        drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
    }
}
