//! A Hugging Face hub on loopback that answers what it is told to, true or not, and remembers what it was asked.
//!
//! Only the standard library is used, so that any test or tool can take this file in with `#[path]`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A server that lives as long as the process.
pub struct Hub {
    address: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

/// What a client has asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
}

/// What it is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// After so many bytes of the body something else happens.
    pub then: Then,
}

/// How a reply ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// As it should.
    Whole,
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// After so many bytes of the body nothing comes any more.
    Stall(usize),
    /// After so many bytes of the body one comes now and then.
    Drip(usize),
}

impl Hub {
    /// Answers every request with what `answer` says.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, remembered) = (Arc::new(answer), Arc::clone(&seen));
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (answer, remembered) = (Arc::clone(&answer), Arc::clone(&remembered));
                thread::spawn(move || serve(connection, &*answer, &remembered));
            }
        });
        Self { address, seen }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Everything it was asked so far.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

impl Request {
    /// The file of a repository that is asked for; `None` for the list of files.
    pub fn file(&self) -> Option<&str> {
        let (_, rest) = self.path.split_once("/resolve/")?;
        rest.split_once('/').map(|(_, file)| file)
    }

    /// Whether only headers are asked for.
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

impl Reply {
    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            then: Then::Whole,
        }
    }

    /// The same with another header; one of that name is replaced.
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// The same with another end.
    pub fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }
}

/// A repository that is told of as it is.
#[derive(Debug, Clone, Default)]
pub struct Repository {
    /// The name of the one commit.
    pub commit: String,
    files: BTreeMap<String, (Vec<u8>, String)>,
}

impl Repository {
    /// An empty one.
    pub fn new(commit: &str) -> Self {
        Self {
            commit: commit.into(),
            files: BTreeMap::new(),
        }
    }

    /// Adds a file with the name of its content.
    pub fn add(&mut self, name: &str, bytes: impl Into<Vec<u8>>, etag: impl Into<String>) {
        self.files.insert(name.into(), (bytes.into(), etag.into()));
    }

    /// The bytes of a file.
    pub fn bytes(&self, name: &str) -> &[u8] {
        &self.files[name].0
    }

    /// The answer of an honest hub.
    pub fn reply(&self, request: &Request) -> Reply {
        let Some(file) = request.file() else {
            return self.list();
        };
        let Some((bytes, etag)) = self.files.get(file) else {
            return Reply::status(404);
        };
        let (status, body, range) = match request.range.as_deref().map(first_and_last) {
            None => (200, bytes.clone(), None),
            Some((first, _)) if first >= bytes.len() => return Reply::status(416),
            Some((first, last)) => {
                let last = last.unwrap_or(usize::MAX).min(bytes.len() - 1);
                let range = format!("bytes {first}-{last}/{}", bytes.len());
                (206, bytes[first..=last].to_vec(), Some(range))
            }
        };
        let reply = Reply {
            body,
            ..Reply::status(status)
        };
        let reply = reply
            .with("etag", format!("\"{etag}\""))
            .with("x-repo-commit", &self.commit);
        range
            .into_iter()
            .fold(reply, |reply, range| reply.with("content-range", range))
    }

    fn list(&self) -> Reply {
        let names: Vec<String> = self
            .files
            .keys()
            .map(|name| format!("{{\"rfilename\":{name:?}}}"))
            .collect();
        let list = format!(
            "{{\"sha\":{:?},\"siblings\":[{}]}}",
            self.commit,
            names.join(",")
        );
        Reply {
            body: list.into_bytes(),
            ..Reply::status(200)
        }
        .with("content-type", "application/json")
        // As the hub's own framework makes them; no name of a file.
        .with("etag", "W/\"29-a/b+c=\"")
    }
}

fn first_and_last(range: &str) -> (usize, Option<usize>) {
    let span = range.strip_prefix("bytes=").unwrap();
    let (first, last) = span.split_once('-').unwrap();
    (first.parse().unwrap(), last.parse().ok())
}

fn serve(
    connection: TcpStream,
    answer: &(dyn Fn(&Request) -> Reply + Send + Sync),
    seen: &Mutex<Vec<Request>>,
) {
    let mut reader = BufReader::new(&connection);
    let Some(request) = read_request(&mut reader) else {
        return;
    };
    seen.lock().unwrap().push(request.clone());
    let reply = answer(&request);
    let mut bytes = format!("HTTP/1.1 {} As Told\r\n", reply.status).into_bytes();
    let has_length = reply
        .headers
        .iter()
        .any(|(name, _)| name == "content-length");
    if !has_length {
        bytes.extend(format!("content-length: {}\r\n", reply.body.len()).into_bytes());
    }
    for (name, value) in &reply.headers {
        bytes.extend(name.as_bytes());
        bytes.extend(b": ");
        bytes.extend(value);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"connection: close\r\n\r\n");
    if !request.is_head() {
        let end = match reply.then {
            Then::Whole => reply.body.len(),
            Then::Cut(at) | Then::Stall(at) | Then::Drip(at) => at.min(reply.body.len()),
        };
        bytes.extend(&reply.body[..end]);
    }
    // A client that has heard enough leaves.
    let _ = (&connection).write_all(&bytes);
    if let Then::Drip(at) = reply.then
        && !request.is_head()
    {
        for byte in reply.body.get(at..).unwrap_or_default() {
            thread::sleep(Duration::from_millis(100));
            if (&connection).write_all(&[*byte]).is_err() {
                return;
            }
        }
    }
    if matches!(reply.then, Then::Stall(_)) && !request.is_head() {
        // Until the client gives up.
        let _ = connection.set_read_timeout(Some(Duration::from_secs(60)));
        let _ = reader.read(&mut [0]);
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut request = Request {
        method,
        path,
        authorization: None,
        range: None,
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Some(request);
        };
        let value = value.trim().to_owned();
        match name.to_ascii_lowercase().as_str() {
            "authorization" => request.authorization = Some(value),
            "range" => request.range = Some(value),
            _ => {}
        }
    }
}
