//! Requests to the API that are none, or nearly none, byte by byte on connections of their own.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rejoin_tests::dice::Dice;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::fleet::Fleet;
use super::noise;

/// Connections at a time.
const LANES: usize = 4;
/// Connections that send half of a request and then nothing, and stay.
const DAWDLERS: usize = 50;
/// For an answer, or a hang-up.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Longest form of junk in a path or a header: above what the server reads.
const JUNK_BYTES_MAX: usize = 80_000;

/// Requests that would be taken in: what is made of them is not. No input is an object, so that contexts stay what they are.
const BODIES: [(&str, &str); 4] = [
    (
        "POST /v1/workflows/noted/runs",
        r#"{"input": [1, 2.5, "x", {"a": null}], "tags": {"of": "garbage"}, "priority": "low"}"#,
    ),
    (
        "POST /v1/runs/batch",
        r#"{"runs": [{"workflow": "noted", "input": -1}, {"workflow": "fan"}]}"#,
    ),
    (
        "POST /v1/events",
        r#"{"event": "garbage", "payload": {"deep": {"er": [true, null]}}}"#,
    ),
    (
        "PUT /v1/workflows?dry_run=true",
        r#"{"workflow": "fresh", "steps": [{"step": "one", "with": {"n": "= input.n"}}]}"#,
    ),
];

/// What was answered.
#[derive(Default)]
pub struct Answers {
    /// Problem documents.
    problems: BTreeMap<u16, usize>,
    /// Bytes that were no HTTP: an empty 4xx, or no answer, and the connection closed.
    hung_up: usize,
    /// Mutants that were requests still.
    fitting: usize,
    bytes: usize,
}

impl Answers {
    fn add(&mut self, other: &Answers) {
        for (status, times) in &other.problems {
            *self.problems.entry(*status).or_default() += times;
        }
        self.hung_up += other.hung_up;
        self.fitting += other.fitting;
        self.bytes += other.bytes;
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "problems {:?}, {} connections hung up on, {} mutants that fitted ({} kB)",
            self.problems,
            self.hung_up,
            self.fitting,
            self.bytes / 1000
        )
    }
}

/// What is sent on one connection.
struct Throw {
    bytes: Vec<u8>,
    /// No more is sent afterwards, which the server is told.
    is_half_closed: bool,
    /// It may have stayed a request.
    may_fit: bool,
}

/// Sends about so many bytes to each coordinator in turn.
pub async fn throw(fleet: &Fleet, mut dice: Dice, bytes: u64, answers: &mut Answers) -> Result<()> {
    let mut dawdlers = Vec::new();
    for _ in 0..DAWDLERS {
        let mut stream = connect(fleet, &mut dice).await?;
        let half = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"event\": ";
        stream.write_all(&half[..dice.below(half.len())]).await?;
        dawdlers.push(stream);
    }
    let lanes = (0..LANES).map(|lane| {
        let dice = Dice::of(dice.any(), &lane.to_string());
        throw_in_lane(fleet, dice, bytes / LANES as u64)
    });
    let [one, two, three, four] = <[_; LANES]>::try_from(lanes.collect::<Vec<_>>())
        .ok()
        .context("lanes")?;
    let done: [Answers; LANES] = tokio::try_join!(one, two, three, four)?.into();
    done.iter().for_each(|lane| answers.add(lane));
    ensure!(
        answers.problems.len() > 3 && answers.hung_up > 0,
        "too little was tried: {answers}"
    );
    // They were there all the time.
    drop(dawdlers);
    Ok(())
}

async fn throw_in_lane(fleet: &Fleet, mut dice: Dice, bytes: u64) -> Result<Answers> {
    let mut answers = Answers::default();
    while (answers.bytes as u64) < bytes {
        let throw = one(&mut dice);
        let stream = connect(fleet, &mut dice).await?;
        let shown: String = String::from_utf8_lossy(&throw.bytes).chars().take(600).collect();
        let said = tokio::time::timeout(ANSWER_MAX, exchange(stream, &throw)).await;
        let said = said.with_context(|| format!("neither an answer nor a hang-up to {shown:?}"))??;
        let judged = judge(&said, throw.may_fit, &mut answers);
        judged.with_context(|| format!("to {shown:?}"))?;
        answers.bytes += throw.bytes.len();
    }
    Ok(answers)
}

async fn connect(fleet: &Fleet, dice: &mut Dice) -> Result<TcpStream> {
    let (_, port) = dice.pick(&fleet.coordinators);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
    TcpStream::connect(address)
        .await
        .context("a coordinator does not listen")
}

/// All that the server says until it hangs up. It may do so, also hard, as soon as it has seen enough.
async fn exchange(mut stream: TcpStream, throw: &Throw) -> Result<Vec<u8>> {
    let (mut from, mut to) = stream.split();
    let mut said = Vec::new();
    let speak = async {
        if to.write_all(&throw.bytes).await.is_ok() && throw.is_half_closed {
            to.shutdown().await.ok();
        }
    };
    let listen = async {
        let mut chunk = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut chunk).await {
            said.extend_from_slice(&chunk[..read]);
        }
    };
    tokio::join!(speak, listen);
    Ok(said)
}

/// Counts an answer, if it may be.
fn judge(said: &[u8], may_fit: bool, answers: &mut Answers) -> Result<()> {
    if said.is_empty() {
        answers.hung_up += 1;
        return Ok(());
    }
    let text = String::from_utf8_lossy(said);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    match status {
        Some(200..=299) if may_fit => answers.fitting += 1,
        Some(status @ 400..=499) if body.is_empty() => {
            ensure!(
                matches!(status, 400 | 414 | 431) && head.to_lowercase().contains("content-length: 0"),
                "an answer without a problem: {head:?}"
            );
            answers.hung_up += 1;
        }
        Some(status @ 400..=499) => {
            ensure!(
                head.contains("application/problem+json"),
                "no problem document: {text:?}"
            );
            let problem: Value = serde_json::from_str(body).with_context(|| format!("no JSON: {text:?}"))?;
            ensure!(
                problem["code"].is_string() && problem["detail"].is_string(),
                "no problem: {problem}"
            );
            *answers.problems.entry(status).or_default() += 1;
        }
        _ => bail!("answered {text:?}"),
    }
    Ok(())
}

/// One of nine sorts of garbage.
fn one(dice: &mut Dice) -> Throw {
    match dice.below(9) {
        0 => {
            let bytes = 1 + dice.below(8_000);
            half_closed(noise(dice, bytes))
        }
        // A method, a version, a line that is none.
        1 => half_closed(
            format!(
                "{} /v1/runs {}\r\nHost: x\r\n{}\r\n\r\n",
                dice.word(&["GET", "G\u{E9}T", "", "GET GET", "FROB", "get"]),
                dice.word(&["HTTP/9.9", "HTTP/1.1", "HTTP", "", "HTTP/1.1 HTTP/1.1"]),
                dice.word(&[":", "no colon", "a : b", "\u{0}: x", " folded", "x: \u{1}"])
            )
            .into_bytes(),
        ),
        2 => whole("GET", &junk_path(dice), "", b""),
        3 => {
            let header = junk_header(dice);
            whole("GET", "/v1/runs/~", &header, b"")
        }
        4 => wrong_length(dice),
        5 => wrong_chunks(dice),
        6 => {
            let bytes = dice.below(20_000);
            let body = [b"\xFE".to_vec(), noise(dice, bytes)].concat();
            with_body(dice, &body)
        }
        7 => broken_body(dice),
        _ => mutant(dice),
    }
}

fn half_closed(bytes: Vec<u8>) -> Throw {
    Throw {
        bytes,
        is_half_closed: true,
        may_fit: false,
    }
}

/// A request of which the server can tell where it ends, and after which it hangs up.
fn whole(method: &str, path: &str, headers: &str, body: &[u8]) -> Throw {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         {headers}Content-Length: {length}\r\n\r\n"
    );
    Throw {
        bytes: [head.as_bytes(), body].concat(),
        is_half_closed: false,
        may_fit: false,
    }
}

/// `body` to one of the places that take one.
fn with_body(dice: &mut Dice, body: &[u8]) -> Throw {
    let (place, _) = *dice.pick(&BODIES);
    let (method, path) = place.split_once(' ').expect("a method and a path");
    whole(method, path, "", body)
}

/// Nothing is there: no name holds a tilde.
fn junk_path(dice: &mut Dice) -> String {
    let stem = dice.word(&[
        "/v1/runs/~",
        "/v1/workflows/~",
        "/v1/~",
        "/v1/runs?~=",
        "/v1/runs/~/context?at=",
    ]);
    let junk: String = match dice.below(4) {
        0 => "a".repeat(1 + dice.below(JUNK_BYTES_MAX)),
        1 => (0..1 + dice.below(200))
            .map(|_| format!("%{:02X}", dice.below(256)))
            .collect(),
        2 => "/..".repeat(1 + dice.below(500)),
        _ => (0..1 + dice.below(400))
            .map(|_| dice.word(&["%", "%2", "&", "=", "'", ";", "%00", "\\", "+"]))
            .collect(),
    };
    format!("{stem}{junk}")
}

fn junk_header(dice: &mut Dice) -> String {
    match dice.below(6) {
        0 => format!("X-Long: {}\r\n", "v".repeat(dice.below(JUNK_BYTES_MAX))),
        1 => (0..dice.below(300)).map(|n| format!("X-{n}: {n}\r\n")).collect(),
        2 => format!(
            "Rejoin-Namespace: {}\r\n",
            dice.word(&["", "a b", "../x", "\u{E9}", "%00", "-"])
        ),
        3 => format!(
            "Authorization: {}\r\n",
            dice.word(&["Bearer", "Bearer ", "Basic x", "Bearer \u{1F511}", ""])
        ),
        4 => format!("Idempotency-Key: {}\r\n", "k".repeat(dice.below(4_000))),
        _ => format!(
            "{}: {}\r\n",
            dice.word(&[
                "Accept",
                "Last-Event-ID",
                "traceparent",
                "Expect",
                "Content-Encoding",
                "Upgrade"
            ]),
            dice.word(&["*", "garbage", "00-00-00-00", "100-continue-not", "gzip", "h2c", ",,,,"])
        ),
    }
}

/// Less is sent than was said, or what was said is no number.
fn wrong_length(dice: &mut Dice) -> Throw {
    let (place, body) = *dice.pick(&BODIES);
    let sent = &body[..dice.below(body.len())];
    let length = match dice.below(3) {
        0 => (body.len() + dice.below(1_000_000)).to_string(),
        1 => dice
            .word(&["-1", "x", "1e3", "99999999999999999999999", "1, 2"])
            .to_owned(),
        _ => body.len().to_string(),
    };
    half_closed(format!("{place} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{sent}").into_bytes())
}

fn wrong_chunks(dice: &mut Dice) -> Throw {
    let (place, body) = *dice.pick(&BODIES);
    let size = dice.word(&["zz", "-5", "ffffffffffffffffff", "", "5;=\u{7F}", "FFFF"]);
    half_closed(
        format!("{place} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n{body}\r\n")
            .into_bytes(),
    )
}

/// JSON that is cut off, or cannot be kept, or says what nobody knows.
fn broken_body(dice: &mut Dice) -> Throw {
    let (place, body) = *dice.pick(&BODIES);
    let inner = &body[1..];
    let broken = match dice.below(7) {
        0 => body[..1 + dice.below(body.len() - 1)].to_owned(),
        1 => format!("{}{}", "[".repeat(1 + dice.below(50_000)), body),
        2 => format!(r#"{{"input": {}, {inner}"#, "9".repeat(20 + dice.below(400))),
        3 => format!(r#"{{"nul": "\u0000", {inner}"#),
        4 => format!(r#"{{"strange": {}, {inner}"#, dice.any()),
        // Mostly within what is read, or a few of them would be all the garbage.
        5 => {
            let bytes = if dice.chance(10) { 2_000_000 } else { 2_000 };
            format!(r#"{{"inputs": "{}"}}"#, "x".repeat(bytes))
        }
        _ => dice
            .word(&["[]", "0", "\"\"", "null", "{\"input\": }", "{\"a\": 1,}", "{'a': 1}"])
            .to_owned(),
    };
    let (method, path) = place.split_once(' ').expect("a method and a path");
    whole(method, path, "", broken.as_bytes())
}

/// A request with some of its body's bytes changed, which may mean something still.
fn mutant(dice: &mut Dice) -> Throw {
    let (place, body) = *dice.pick(&BODIES);
    let mut body = body.as_bytes().to_vec();
    for _ in 0..1 + dice.below(4) {
        let at = dice.below(body.len());
        match dice.below(3) {
            0 => body[at] = u8::try_from(dice.below(256)).unwrap_or_default(),
            1 => drop(body.remove(at)),
            _ => body.insert(at, *dice.pick(b"{}[]\",:0e-.\\ \n")),
        }
    }
    let (method, path) = place.split_once(' ').expect("a method and a path");
    Throw {
        may_fit: true,
        ..whole(method, path, "", &body)
    }
}
