//! A TCP proxy between the fleet and a server, which can be told to misbehave.
//!
//! ```text
//! client ──▶ up: reads, counts, obeys the mode, writes ──▶ server
//!        ◀── down: the same                            ◀──
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

const CHUNK: usize = 16 * 1024;

/// How it treats what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Each chunk is held for so long.
    Delay(Duration),
    /// At most so many bytes a second, each way and connection.
    Throttle(u64),
    /// Nothing passes, nothing is closed, nothing is lost.
    Blackhole,
    /// What clients send is not read: their buffers fill.
    StopReading,
    /// A connection is cut after so many more bytes from the client, in the middle of whatever that was.
    CutAfter(usize),
    /// So many times, a request of at least `request_bytes` is passed on, and its connection cut once the server has answered.
    CutAnswers {
        request_bytes: usize,
        times: usize,
    },
}

struct Control {
    mode: watch::Sender<Mode>,
    /// A number that rises when all connections are to be reset.
    resets: watch::Sender<u64>,
    struck: AtomicUsize,
    cuts_left: AtomicUsize,
}

/// Listens until it is dropped.
pub struct Proxy {
    port: u16,
    control: Arc<Control>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// A proxy in front of `server`.
    pub async fn before(server: SocketAddr) -> Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let control = Arc::new(Control {
            mode: watch::Sender::new(Mode::Pass),
            resets: watch::Sender::new(0),
            struck: AtomicUsize::new(0),
            cuts_left: AtomicUsize::new(0),
        });
        let task = tokio::spawn(listen(listener, server, Arc::clone(&control)));
        Ok(Proxy {
            port,
            control,
            _task: AbortOnDropHandle::new(task),
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn set(&self, mode: Mode) {
        if let Mode::CutAnswers { times, .. } = mode {
            self.control.cuts_left.store(times, Ordering::SeqCst);
        }
        self.control.mode.send_replace(mode);
    }

    /// Misbehaves for a while, and passes everything again.
    pub async fn misbehave(&self, mode: Mode, time: Duration) -> Result<()> {
        self.set(mode);
        tokio::time::sleep(time).await;
        self.set(Mode::Pass);
        self.assert_struck()
    }

    /// Resets every connection.
    pub fn reset(&self) -> Result<()> {
        let hit = self.control.resets.receiver_count();
        self.control.resets.send_modify(|n| *n += 1);
        ensure!(hit > 0, "no connection was there: the fault did not strike");
        println!("the proxy reset up to {} connections", hit / 2);
        Ok(())
    }

    /// A fault is one only if something met it.
    pub fn assert_struck(&self) -> Result<()> {
        let struck = self.control.struck.swap(0, Ordering::SeqCst);
        println!("the proxy struck {struck} times");
        ensure!(struck > 0, "nothing met the proxy's mode: the fault did not strike");
        Ok(())
    }

    /// Waits until it has struck so often.
    pub async fn has_struck(&self, times: usize, within: Duration) -> Result<()> {
        let began = tokio::time::Instant::now();
        while self.control.struck.load(Ordering::SeqCst) < times {
            ensure!(
                began.elapsed() < within,
                "the proxy struck less than {times} times within {within:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

async fn listen(listener: TcpListener, server: SocketAddr, control: Arc<Control>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        connections.spawn(connect(client, server, Arc::clone(&control)));
    }
}

/// One connection, until either side closes it or the mode cuts it.
async fn connect(client: TcpStream, server: SocketAddr, control: Arc<Control>) {
    // A server that is down refuses: so does the proxy, by closing.
    let Ok(upstream) = TcpStream::connect(server).await else {
        return;
    };
    for stream in [&client, &upstream] {
        // Only latency depends on it.
        stream.set_nodelay(true).ok();
        // Dropped, it is reset.
        stream.set_zero_linger().ok();
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = upstream.into_split();
    let asked = Arc::new(AtomicU64::new(0));
    let up = Pump {
        control: Arc::clone(&control),
        asked: Arc::clone(&asked),
        is_up: true,
        passed: 0,
    };
    let down = Pump {
        control,
        asked,
        is_up: false,
        passed: 0,
    };
    // Whichever ends first takes the other, and with it both sockets, along.
    tokio::select! {
        () = up.run(from_client, to_server) => {}
        () = down.run(from_server, to_client) => {}
    }
}

/// One direction of a connection.
struct Pump {
    control: Arc<Control>,
    /// Bytes that the client has sent since the server last answered.
    asked: Arc<AtomicU64>,
    is_up: bool,
    /// Bytes since `CutAfter` began to count.
    passed: usize,
}

impl Pump {
    async fn run(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut mode = self.control.mode.subscribe();
        let mut resets = self.control.resets.subscribe();
        let mut buffer = vec![0; CHUNK];
        loop {
            let chunk = tokio::select! {
                _ = resets.changed() => return,
                chunk = self.read(&mut from, &mut buffer, &mut mode) => chunk,
            };
            let Some(size) = chunk else { return };
            let passes = tokio::select! {
                _ = resets.changed() => return,
                passes = self.hold(size, &mut mode) => passes,
            };
            if to.write_all(&buffer[..passes]).await.is_err() || passes < size {
                return;
            }
        }
    }

    async fn read(
        &self,
        from: &mut OwnedReadHalf,
        buffer: &mut [u8],
        mode: &mut watch::Receiver<Mode>,
    ) -> Option<usize> {
        if self.is_up && *mode.borrow() == Mode::StopReading {
            self.control.struck.fetch_add(1, Ordering::SeqCst);
            mode.wait_for(|mode| *mode != Mode::StopReading).await.ok()?;
        }
        from.read(buffer).await.ok().filter(|size| *size > 0)
    }

    /// Holds a chunk back as the mode says; how much of it then passes. Less than all: the connection is cut after that.
    async fn hold(&mut self, size: usize, mode: &mut watch::Receiver<Mode>) -> usize {
        let asked = self.note(size);
        let now = *mode.borrow_and_update();
        match now {
            Mode::Pass | Mode::StopReading => return size,
            Mode::Delay(time) => tokio::time::sleep(time).await,
            Mode::Throttle(rate) => tokio::time::sleep(Duration::from_secs_f64(size as f64 / rate as f64)).await,
            Mode::Blackhole => {
                self.control.struck.fetch_add(1, Ordering::SeqCst);
                // The proxy is dropped at the end of the test only.
                mode.wait_for(|mode| *mode != Mode::Blackhole).await.ok();
                return size;
            }
            Mode::CutAfter(bytes) => return self.cut_after(bytes, size),
            Mode::CutAnswers { request_bytes, .. } => return self.cut_answer(request_bytes, asked, size),
        }
        self.control.struck.fetch_add(1, Ordering::SeqCst);
        size
    }

    /// Counts what the client asks; for an answer: how much was asked before it.
    fn note(&self, size: usize) -> usize {
        if self.is_up {
            self.asked.fetch_add(size as u64, Ordering::SeqCst);
            return 0;
        }
        usize::try_from(self.asked.swap(0, Ordering::SeqCst)).unwrap_or(usize::MAX)
    }

    fn cut_after(&mut self, bytes: usize, size: usize) -> usize {
        if !self.is_up {
            return size;
        }
        self.passed += size;
        if self.passed < bytes {
            return size;
        }
        self.control.struck.fetch_add(1, Ordering::SeqCst);
        // In the middle of the chunk.
        size / 2
    }

    fn cut_answer(&self, request_bytes: usize, asked: usize, size: usize) -> usize {
        if self.is_up || asked < request_bytes {
            return size;
        }
        let left = self
            .control
            .cuts_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_err() {
            return size;
        }
        self.control.struck.fetch_add(1, Ordering::SeqCst);
        0
    }
}
