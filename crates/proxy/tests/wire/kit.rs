//! A gateway in this process, a control app and an MCP server that keep what they are sent, and a client of plain bytes.

use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ostiary_core::json::{Limits, Value, parse};
use ostiary_core::snapshot::Snapshot;
use ostiary_proxy::gateway::Gateway;
use ostiary_proxy::journal::{Journal, new_id};
use ostiary_proxy::revocations::Revocations;
use ostiary_proxy::secrets::Secrets;

const DEADLINE: Duration = Duration::from_secs(10);
const SEED: [u8; 32] = [7; 32];

/// The Host of every request that names none itself.
pub const HOST: &str = "gw.test";

/// A folder that goes when the test ends.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("ostiary-wire-{}", new_id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap()
}

fn jwk() -> String {
    format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"k","x":"{}"}}"#, encode(pair().public_key()))
}

/// A token of the agent `bot` for the server `notes`.
pub fn token() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = format!(
        r#"{{"iss":"http://{HOST}","aud":"http://{HOST}/mcp/notes","sub":"agent:local:bot","client_id":"agent:local:bot","jti":"t","iat":{now},"exp":{}}}"#,
        now + 600
    );
    let signed = format!("{}.{}", encode(r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k"}"#), encode(claims));
    format!("{signed}.{}", encode(pair().sign(signed.as_bytes())))
}

/// What may differ between the snapshots of these tests, as JSON.
pub struct Plan {
    pub url: String,
    pub identity: &'static str,
    /// More members of `gateway`, each with a comma before it.
    pub gateway: &'static str,
    /// More members of the whole.
    pub whole: &'static str,
    /// More issuers.
    pub issuers: &'static str,
}

impl Default for Plan {
    fn default() -> Self {
        Self { url: "http://127.0.0.1:1/mcp".to_owned(), identity: r#""jwt""#, gateway: "", whole: "", issuers: "" }
    }
}

impl Plan {
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let Self { url, identity, gateway, whole, issuers } = self;
        let jwk = jwk();
        let text = format!(
            r#"{{"format":1,"partial":false,"lockdown":false{whole},
            "gateway":{{"url":"http://{HOST}","hosts":["{HOST}"],"origins":[],"refusals":"error"{gateway}}},
            "audit":{{"durability":"os","redact":[]}},
            "issuers":[{issuers}{{"name":"local","issuer":"http://{HOST}","keys":[{jwk}],"algorithms":["EdDSA"],
              "type":"agent","audience":null,"servers":null,"typ":["at+jwt"],"max_ttl_s":3600,"claims":{{}},
              "email_domains":null,"scopes":null,"direct":false}}],
            "people":[{{"key":"alice","id":null}}],
            "agents":[{{"key":"bot","id":"agent:local:bot","owner":"alice","purpose":null,"environment":null,"clients":[],
              "ceiling":{{"servers":["notes"],"tools":null,"classes":["read"]}},"expires":null}}],
            "services":[],
            "servers":[{{"name":"notes","url":"{url}","owner":"alice","environment":null,"identity":{identity},
              "default_class":"read","tools":{{}},"timeout_s":10,"max_response_bytes":100000}}],
            "policy":{{"timezone":"UTC","rules":[{{"name":"all","file":"policy.yaml","line":1,"effect":"allow",
              "mode":"enforce","owner":null,"any":[{{"op":"and","of":[{{"criterion":"accept","path":null,"line":1,
              "text":"accept: ","tests":[]}}]}}]}}]}}}}"#
        );
        Arc::new(Snapshot::compile(text.as_bytes()).unwrap_or_else(|error| panic!("{error}")))
    }
}

/// The secrets, with these credentials as the members of an object.
pub fn secrets(credentials: &str) -> Secrets {
    let (seed, seal, jwk) = (encode(SEED), encode([9; 32]), jwk());
    let text = format!(
        r#"{{"signing":{{"kid":"k","alg":"EdDSA","seed":"{seed}"}},"jwks":{{"keys":[{jwk}]}},"seal":"{seal}",
        "credentials":{{{credentials}}}}}"#
    );
    Secrets::read(&text).unwrap()
}

/// A running gateway.
pub struct House {
    pub gateway: Gateway,
    journal: Arc<Journal>,
    pub folder: Folder,
}

impl House {
    pub fn new(plan: &Plan, credentials: &str, control: Option<PathBuf>) -> Self {
        let folder = Folder::new();
        let journal = Arc::new(Journal::open(&folder.0.join("audit"), "gw", None).unwrap());
        let secrets = secrets(credentials);
        let (snapshot, revocations) = (plan.snapshot(), Revocations::new(&[], Duration::ZERO));
        let gateway =
            Gateway::start("127.0.0.1:0", snapshot, &secrets, Arc::clone(&journal), 2, control, revocations).unwrap();
        Self { gateway, journal, folder }
    }

    /// Sends the text of one request, each line with its CR, and gives the answer.
    pub fn send(&self, request: &[u8]) -> Reply {
        self.open(request).finish()
    }

    pub fn open(&self, request: &[u8]) -> Client {
        let mut stream = TcpStream::connect(self.gateway.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request).unwrap();
        Client(stream)
    }

    /// One request from its first line without the version, its fields and its body. `Host` is added unless there is one.
    pub fn request(&self, line: &str, fields: &[&str], body: &str) -> Reply {
        self.send(&layout(line, fields, body))
    }

    /// A call of a tool on `notes`.
    pub fn call(&self, fields: &[&str]) -> Reply {
        let bearer = format!("Authorization: Bearer {}", token());
        let mut all = vec![
            bearer.as_str(),
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
            "MCP-Protocol-Version: 2025-11-25",
        ];
        all.extend(fields);
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}"#;
        self.request("POST /mcp/notes", &all, body)
    }

    /// Everything recorded, as text.
    pub fn records_text(&self) -> String {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(self.folder.0.join("audit")).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    /// (kind, reason or outcome, path) of every record.
    pub fn records(&self) -> Vec<(String, String, String)> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        self.records_text()
            .lines()
            .map(|line| {
                let record = parse(line.as_bytes(), &Limits::ANSWER).unwrap();
                let why = record.get("reason").filter(|reason| **reason != Value::Null);
                let path = record.get("request").and_then(|request| request.get("path"));
                (text(record.get("kind")), text(why.or(record.get("outcome"))), text(path))
            })
            .collect()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.gateway.stop(Duration::from_millis(200));
        let _ = self.journal.close();
    }
}

pub fn layout(line: &str, fields: &[&str], body: &str) -> Vec<u8> {
    let mut text = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
    if !fields.iter().any(|field| field.starts_with("Host:")) {
        text.push_str("Host: gw.test\r\n");
    }
    for field in fields {
        text.push_str(field);
        text.push_str("\r\n");
    }
    if !body.is_empty() {
        let _ = write!(text, "Content-Length: {}\r\n", body.len());
    }
    format!("{text}\r\n{body}").into_bytes()
}

/// A request whose answer has not been read.
pub struct Client(TcpStream);

impl Client {
    pub fn finish(mut self) -> Reply {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{error}"),
        }
        Reply(String::from_utf8(bytes).unwrap())
    }
}

/// An answer as it came.
#[derive(Debug)]
pub struct Reply(String);

impl Reply {
    pub fn status(&self) -> u16 {
        self.0.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no answer: {self:?}"))
    }

    /// The fields but those of the connection, in the order sent, the names in lower case.
    pub fn fields(&self) -> Vec<String> {
        let head = self.0.split("\r\n\r\n").next().unwrap();
        head.lines()
            .skip(1)
            .map(|line| {
                let (name, value) = line.split_once(": ").unwrap();
                format!("{}: {value}", name.to_ascii_lowercase())
            })
            .filter(|field| !["date:", "connection:", "content-length:"].iter().any(|own| field.starts_with(own)))
            .collect()
    }

    pub fn field(&self, name: &str) -> Option<String> {
        let prefix = format!("{name}: ");
        self.fields().iter().find_map(|field| field.strip_prefix(&prefix).map(str::to_owned))
    }

    pub fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

/// Reads one HTTP/1.1 message with a length, if one comes.
fn message(stream: &mut impl Read) -> Option<String> {
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let whole = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = whole.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(whole);
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(count) => text.extend_from_slice(&piece[..count]),
        }
    }
}

/// The control app: it keeps what it is sent and answers as it is told to. An empty answer is none.
pub struct App {
    pub path: PathBuf,
    sent: Receiver<String>,
    answer: Arc<Mutex<Vec<u8>>>,
    _folder: Folder,
}

impl App {
    pub fn new() -> Self {
        let folder = Folder::new();
        let path = folder.0.join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (keep, sent) = channel();
        let answer = Arc::new(Mutex::new(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()));
        let told = Arc::clone(&answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, keep, told) = (stream.unwrap(), keep.clone(), Arc::clone(&told));
                thread::spawn(move || {
                    let Some(text) = message(&mut stream) else { return };
                    let _ = keep.send(text);
                    let answer = told.lock().unwrap().clone();
                    if answer.is_empty() {
                        // Until the other side hangs up.
                        let _ = stream.read(&mut [0]);
                    }
                    let _ = stream.write_all(&answer);
                });
            }
        });
        Self { path, sent, answer, _folder: folder }
    }

    pub fn answers(&self, text: impl Into<Vec<u8>>) {
        *self.answer.lock().unwrap() = text.into();
    }

    /// The next request that it got.
    pub fn got(&self) -> String {
        self.sent.recv_timeout(DEADLINE).unwrap()
    }

    /// Whether it got nothing more.
    pub fn idle(&self) -> bool {
        self.sent.try_recv().is_err()
    }
}

/// An MCP server that answers every call, and keeps the heads that it got.
pub struct Server {
    pub url: String,
    heads: Receiver<String>,
}

impl Server {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let (keep, heads) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, keep) = (stream.unwrap(), keep.clone());
                thread::spawn(move || {
                    while let Some(text) = message(&mut stream) {
                        let (head, body) = text.split_once("\r\n\r\n").unwrap();
                        let call = parse(body.as_bytes(), &Limits::DEFAULT).unwrap();
                        let _ = keep.send(head.to_owned());
                        let id = call.get("id").unwrap().as_str().unwrap();
                        let answer = format!(r#"{{"jsonrpc":"2.0","id":"{id}","result":{{"content":[]}}}}"#);
                        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json";
                        let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
                    }
                });
            }
        });
        Self { url, heads }
    }

    pub fn got(&self) -> String {
        self.heads.recv_timeout(DEADLINE).unwrap()
    }

    pub fn idle(&self) -> bool {
        self.heads.try_recv().is_err()
    }
}
