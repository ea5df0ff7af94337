//! Speaking HTTP with a hub: where the token may go, how long silence may last, and what an answer must look like.
//!
//! Redirects are followed here and not by the library, because the token goes to the hub's own origin and nowhere else. What
//! a header says becomes a [`Told`] only after it was checked: etags and commits turn into names of files.

use super::HubError;
use super::pace::{Pace, TooSlow};
use crate::base::watch::PullWatch;
use hone_ledger::{WriteError, words::without_credentials};
use std::fmt;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;
use ureq::http::{HeaderMap, Uri};
use ureq::{Agent, Body};

/// A hub, and who we are to it. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    /// Without a slash at the end.
    endpoint: String,
    origin: Origin,
    token: Option<Token>,
    silence: Duration,
}

/// What went wrong on the way to some bytes.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Nothing came for a while.
    #[error("it was silent for {seconds} s")]
    Silent {
        /// The limit.
        seconds: f64,
    },
    /// Hardly anything came for a while.
    #[error(transparent)]
    Slow(#[from] TooSlow),
    /// A connection that ended too early.
    #[error("the connection broke: {0}")]
    Cut(String),
    /// No connection at all.
    #[error("{0}")]
    Unreachable(String),
    /// An answer that says no.
    #[error("it answered {code}")]
    Status {
        /// The HTTP status.
        code: u16,
        /// Who answered, if it was not the hub but a place it sent us to.
        elsewhere: Option<String>,
        /// The hub's own name for the reason.
        reason: Option<String>,
        /// How long it asks to be left alone, in seconds.
        wait_seconds: Option<u64>,
    },
    /// An answer that cannot be true.
    #[error("{0}")]
    Unsound(String),
    /// The bytes are not the promised ones.
    #[error("its {what} is {found}, the hub promised {expected}")]
    WrongBytes {
        /// Size or hash.
        what: &'static str,
        /// What came.
        found: String,
        /// What was promised.
        expected: String,
    },
    /// The file system refused.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The user asked to stop.
    #[error("stopped")]
    Stopped,
}

impl Trouble {
    /// Whether the same question may be answered a moment later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Silent { .. } | Self::Slow(_) | Self::Cut(_) => true,
            Self::Status {
                code, wait_seconds, ..
            } => {
                let is_short = wait_seconds.is_none_or(|seconds| seconds <= LONGEST_WAIT_SECONDS);
                matches!(code, 429 | 500 | 502 | 503 | 504) && is_short
            }
            _ => false,
        }
    }

    /// How long to wait before it is tried for the `n`th time, from 1.
    pub fn pause(&self, n: u32) -> Duration {
        match self {
            Self::Status {
                wait_seconds: Some(seconds),
                ..
            } => Duration::from_secs(*seconds),
            _ => Duration::from_millis(250 << n.min(5)),
        }
    }
}

/// A hub that asks for a longer pause is told to the user instead.
const LONGEST_WAIT_SECONDS: u64 = 60;

/// More redirects than this lead nowhere.
const MOST_REDIRECTS: usize = 5;

/// A list of files longer than this is none.
const MOST_LIST_BYTES: u64 = 32 << 20;

/// Silence that is borne unless `HF_HUB_DOWNLOAD_TIMEOUT` says otherwise, as in huggingface_hub.
const SILENCE: Duration = Duration::from_secs(10);

/// A token that no message shows.
#[derive(Clone)]
struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Whom a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?;
        Some(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port: uri.port_u16().unwrap_or(default_port),
        })
    }
}

/// What the hub says of a file before it says where the bytes lie.
#[derive(Debug, Default)]
pub struct Told {
    /// Names the content.
    pub etag: Option<Etag>,
    /// The commit the file is of.
    pub commit: Option<Commit>,
    /// Bytes of the whole file.
    pub size: Option<u64>,
}

/// The name of a file's content, fit to be the name of a file: sha256 of large files, git's sha1 of small ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etag(String);

/// A commit, fit to be the name of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit(String);

impl Etag {
    /// Reads a header; strength and quotes are no part of the name.
    pub fn parse(said: &str) -> Option<Self> {
        let bare = said.trim();
        let bare = bare.strip_prefix("W/").unwrap_or(bare).trim_matches('"');
        is_plain_word(bare).then(|| Self(bare.to_owned()))
    }
}

impl Commit {
    /// Reads a header, a field or the file of a reference.
    pub fn parse(said: &str) -> Option<Self> {
        let bare = said.trim();
        is_plain_word(bare).then(|| Self(bare.to_owned()))
    }
}

/// Letters, digits, `-` and `_`: a word that can be no path, no extension and no option.
fn is_plain_word(word: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=128).contains(&word.len()) && word.bytes().all(is_plain) && !word.starts_with('-')
}

impl AsRef<str> for Etag {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Commit {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// An answer whose bytes can be read.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Of the last answer.
    headers: HeaderMap,
    /// The bytes.
    pub body: Body,
    told: Told,
    /// Who answered, if it was not the hub but a place it sent us to.
    elsewhere: Option<String>,
}

impl Client {
    /// The hub of `HF_ENDPOINT`, met with `HF_TOKEN` or what `hf auth login` has left in `token_file`.
    pub fn from_env(token_file: Option<&std::path::Path>) -> Result<Self, HubError> {
        let variable = |name: &str| {
            let value = std::env::var(name).ok()?;
            Some(value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let endpoint =
            variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let from_file = || {
            let token = std::fs::read_to_string(token_file?).ok()?;
            Some(token.trim().to_owned()).filter(|token| !token.is_empty())
        };
        let token = variable("HF_TOKEN").or_else(from_file);
        let silence = match variable("HF_HUB_DOWNLOAD_TIMEOUT") {
            None => SILENCE,
            Some(said) => read_seconds(&said).ok_or(HubError::Setting {
                name: "HF_HUB_DOWNLOAD_TIMEOUT",
                wants: "a number of seconds from 0.1 to 3600",
            })?,
        };
        Self::new(&endpoint, token, silence)
    }

    fn new(endpoint: &str, token: Option<String>, silence: Duration) -> Result<Self, HubError> {
        let uri: Option<Uri> = endpoint.parse().ok();
        let origin = uri
            .as_ref()
            .filter(|uri| uri.query().is_none())
            .and_then(Origin::of)
            .ok_or(HubError::Setting {
                name: "HF_ENDPOINT",
                wants: "an address such as https://huggingface.co",
            })?;
        let is_sendable = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        if !token.iter().all(is_sendable) {
            return Err(HubError::Setting {
                name: "HF_TOKEN",
                wants: "letters, digits and signs only, as the hub's page of tokens shows it",
            });
        }
        let agent = Agent::config_builder()
            .user_agent(concat!("hone/", env!("CARGO_PKG_VERSION")))
            // Sizes and hashes are those of the file itself.
            .accept_encoding("identity")
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_resolve(Some(silence))
            .timeout_connect(Some(silence))
            .timeout_per_read(Some(silence))
            .timeout_per_write(Some(silence))
            // Headers that drip are silence too.
            .timeout_recv_response(Some(silence * 3))
            .build()
            .new_agent();
        Ok(Self {
            agent,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            origin,
            token: token.map(Token),
            silence,
        })
    }

    /// How fast bytes have to come.
    pub fn pace(&self) -> Pace {
        Pace::within(self.silence * 3)
    }

    /// Where the hub is, for a message.
    pub fn place(&self) -> String {
        without_credentials(&self.endpoint)
    }

    /// Whether we have a name there.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The address of something on the hub. The parts hold no character that would need escaping.
    pub fn address(&self, path: &str) -> String {
        format!("{}/{path}", self.endpoint)
    }

    /// Reads a document of the hub, such as a list of files.
    pub fn read(&self, address: &str, watch: &dyn PullWatch) -> Result<Vec<u8>, Trouble> {
        self.beside(watch, address, Self::read_now)
    }

    /// What the hub says of a file.
    pub fn describe(&self, address: &str, watch: &dyn PullWatch) -> Result<Told, Trouble> {
        self.beside(watch, address, Self::describe_now)
    }

    /// The bytes of a file from some byte on. Status 206 keeps to that, 200 begins with the first byte all the same.
    pub fn open(&self, address: &str, from: u64, watch: &dyn PullWatch) -> Result<Answer, Trouble> {
        self.beside(watch, address, move |client, address| {
            let ask = match from {
                0 => Ask::Whole,
                from => Ask::From(from),
            };
            client.walk(ask, address)
        })
    }

    /// Asks on another thread, so that silence keeps nobody from stopping. One that is given up ends with its connection.
    fn beside<T: Send + 'static>(
        &self,
        watch: &dyn PullWatch,
        address: &str,
        ask: impl FnOnce(&Self, &str) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let (client, address) = (self.clone(), address.to_owned());
        let (sender, answers) = sync_channel(1);
        thread::spawn(move || {
            // Whoever asked may have gone.
            let _ = sender.send(ask(&client, &address));
        });
        next(&answers, watch)?.unwrap_or_else(|| Err(Trouble::Cut("nobody reads from it".into())))
    }

    /// The bytes of an answer, read on another thread; see [`next`].
    pub fn chunks(body: Body) -> Receiver<io::Result<Vec<u8>>> {
        let (sender, chunks) = sync_channel(CHUNKS_AHEAD);
        let mut reader = body.into_reader();
        thread::spawn(move || {
            loop {
                let mut chunk = vec![0; CHUNK_BYTES];
                let read = reader.read(&mut chunk);
                let is_last = !matches!(read, Ok(1..));
                let read = read.map(|n| {
                    chunk.truncate(n);
                    chunk
                });
                if sender.send(read).is_err() || is_last {
                    return;
                }
            }
        });
        chunks
    }

    fn read_now(&self, address: &str) -> Result<Vec<u8>, Trouble> {
        let answer = self.walk(Ask::Whole, address)?.successful()?;
        let mut reader = answer
            .body
            .into_with_config()
            .limit(MOST_LIST_BYTES)
            .reader();
        let (mut list, mut pace) = (Vec::new(), self.pace());
        let mut buffer = vec![0; 1 << 14];
        loop {
            let read = reader.read(&mut buffer).map_err(ureq::Error::from);
            match read {
                Ok(0) => return Ok(list),
                Ok(n) => {
                    list.extend(&buffer[..n]);
                    pace.took(n as u64)?;
                }
                Err(ureq::Error::BodyExceedsLimit(_)) => {
                    return Err(Trouble::Unsound(format!(
                        "its list of files is longer than {MOST_LIST_BYTES} bytes"
                    )));
                }
                Err(error) => return Err(self.explain(error)),
            }
        }
    }

    fn describe_now(&self, address: &str) -> Result<Told, Trouble> {
        let mut answer = self.walk(Ask::Head, address)?;
        let is_known = answer.told.etag.is_some() && answer.told.size.is_some();
        if is_known && is_redirect(answer.status) {
            return Ok(answer.told);
        }
        // Not every server knows HEAD, and addresses that are signed for GET refuse it.
        let is_refused = answer.elsewhere.is_some() && !matches!(answer.status, 200 | 206);
        if matches!(answer.status, 405 | 501) || is_refused {
            answer = self.walk(Ask::FirstByte, address)?;
        }
        Ok(answer.successful()?.told)
    }

    /// What a reader of an answer's body ran into.
    pub fn explain_reading(&self, error: io::Error) -> Trouble {
        self.explain(ureq::Error::from(error))
    }

    /// Asks, and follows where it is sent; the token goes with it to the hub only.
    fn walk(&self, ask: Ask, address: &str) -> Result<Answer, Trouble> {
        let mut uri = address
            .parse::<Uri>()
            .map_err(|_| Trouble::Unsound("its address cannot be read".into()))?;
        let mut told = Told::default();
        for _ in 0..=MOST_REDIRECTS {
            let response = self.once(ask, &uri)?;
            let (parts, body) = response.into_parts();
            let status = parts.status.as_u16();
            let next = match is_redirect(status) {
                true => {
                    let location = text_of(&parts.headers, "location")?.unwrap_or_default();
                    Some(redirected(&uri, location)?)
                }
                false => None,
            };
            let is_file = matches!(ask, Ask::Head | Ask::FirstByte);
            if is_file && (next.is_some() || matches!(status, 200 | 206)) {
                // A redirect within one place says nothing of the file itself; one that leads away is the hub's last word.
                let is_inner = next
                    .as_ref()
                    .is_some_and(|next| Origin::of(next) == Origin::of(&uri));
                told.hear(status, &parts.headers, !is_inner)?;
            }
            let is_known = told.etag.is_some() && told.size.is_some();
            match next {
                Some(next) if !(matches!(ask, Ask::Head) && is_known) => uri = next,
                _ => {
                    return Ok(Answer {
                        status,
                        headers: parts.headers,
                        body,
                        told,
                        elsewhere: self.elsewhere(&uri),
                    });
                }
            }
        }
        Err(Trouble::Unsound(format!(
            "it redirects more than {MOST_REDIRECTS} times"
        )))
    }

    fn once(&self, ask: Ask, uri: &Uri) -> Result<ureq::http::Response<Body>, Trouble> {
        let mut request = match ask {
            Ask::Head => self.agent.head(uri),
            _ => self.agent.get(uri),
        };
        match ask {
            Ask::FirstByte => request = request.header("range", "bytes=0-0"),
            Ask::From(byte) => request = request.header("range", format!("bytes={byte}-")),
            Ask::Head | Ask::Whole => {}
        }
        let is_the_hub = self.elsewhere(uri).is_none();
        if let Some(Token(token)) = self.token.as_ref().filter(|_| is_the_hub) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|error| self.explain(error))
    }

    /// The host of an address that is not the hub's.
    fn elsewhere(&self, uri: &Uri) -> Option<String> {
        let is_the_hub = Origin::of(uri).as_ref() == Some(&self.origin);
        (!is_the_hub).then(|| uri.host().unwrap_or_default().to_owned())
    }

    fn explain(&self, error: ureq::Error) -> Trouble {
        use io::ErrorKind as Kind;
        match error {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                let seconds = self.silence.as_secs_f64();
                Trouble::Unreachable(format!("no connection within {seconds} s"))
            }
            ureq::Error::Timeout(_) => Trouble::Silent {
                seconds: self.silence.as_secs_f64(),
            },
            ureq::Error::Io(error) => match error.kind() {
                Kind::UnexpectedEof
                | Kind::ConnectionReset
                | Kind::ConnectionAborted
                | Kind::BrokenPipe => Trouble::Cut(error.to_string()),
                _ => Trouble::Unreachable(error.to_string()),
            },
            ureq::Error::HostNotFound => {
                Trouble::Unreachable("its name leads to no address".into())
            }
            ureq::Error::Protocol(_)
            | ureq::Error::Http(_)
            | ureq::Error::BadUri(_)
            | ureq::Error::LargeResponseHeader(..) => {
                Trouble::Unsound(without_credentials(&error.to_string()))
            }
            error => Trouble::Unreachable(without_credentials(&error.to_string())),
        }
    }
}

/// Bytes of an answer that are read at a time, and chunks of them that wait to be written.
const CHUNK_BYTES: usize = 1 << 18;
const CHUNKS_AHEAD: usize = 4;

/// How soon it is noticed that the user wants to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What comes next from a thread at the network, `None` if it has ended; an error when the user wants to stop meanwhile.
pub fn next<T>(comes: &Receiver<T>, watch: &dyn PullWatch) -> Result<Option<T>, Trouble> {
    loop {
        if watch.is_stopped() {
            return Err(Trouble::Stopped);
        }
        match comes.recv_timeout(LOOK_EVERY) {
            Ok(come) => return Ok(Some(come)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Ask {
    /// Headers only.
    Head,
    /// The headers, by way of one byte: not every server knows HEAD.
    FirstByte,
    Whole,
    From(u64),
}

impl Answer {
    /// The answer, if it brings what was asked for.
    pub fn successful(self) -> Result<Self, Trouble> {
        if matches!(self.status, 200 | 206) {
            return Ok(self);
        }
        let wait = text_of(&self.headers, "retry-after").ok().flatten();
        let reason = text_of(&self.headers, "x-error-code").ok().flatten();
        Err(Trouble::Status {
            code: self.status,
            elsewhere: self.elsewhere,
            reason: reason.map(str::to_owned),
            wait_seconds: wait.and_then(|seconds| seconds.trim().parse().ok()),
        })
    }

    /// The first byte of a part and the size of the whole, of an answer that brings a part.
    pub fn range(&self) -> Option<(u64, Option<u64>)> {
        let said = text_of(&self.headers, "content-range").ok()??;
        let (span, total) = said.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, _) = span.split_once('-')?;
        Some((first.parse().ok()?, total.parse().ok()))
    }

    /// Whether the bytes are those of the file, not a packed form of them.
    pub fn is_plain(&self) -> bool {
        let coding = text_of(&self.headers, "content-encoding").ok().flatten();
        coding.is_none_or(|coding| coding.trim().eq_ignore_ascii_case("identity"))
    }
}

impl Told {
    /// Takes in what an answer says; the first that says something is right, since it is the hub. Only the last word of a
    /// place is about the file as a whole; headers named `linked` always are.
    fn hear(&mut self, status: u16, headers: &HeaderMap, is_last: bool) -> Result<(), Trouble> {
        if self.etag.is_none() {
            let said = match text_of(headers, "x-linked-etag")? {
                Some(said) => Some(said),
                None if is_last => text_of(headers, "etag")?,
                None => None,
            };
            let unsound = |said| unsound("etag", said);
            self.etag = said
                .map(|said| Etag::parse(said).ok_or_else(|| unsound(said)))
                .transpose()?;
        }
        if self.commit.is_none() {
            let unsound = |said| unsound("x-repo-commit", said);
            self.commit = text_of(headers, "x-repo-commit")?
                .map(|said| Commit::parse(said).ok_or_else(|| unsound(said)))
                .transpose()?;
        }
        if self.size.is_none() {
            let said = match (text_of(headers, "x-linked-size")?, status) {
                (Some(linked), _) => Some(("x-linked-size", linked)),
                (None, 200) => text_of(headers, "content-length")?.map(|n| ("content-length", n)),
                (None, 206) => text_of(headers, "content-range")?
                    .and_then(|range| range.rsplit('/').next())
                    .map(|n| ("content-range", n)),
                _ => None,
            };
            let read = |(name, said): (&'static str, &str)| {
                let size = said.trim().parse::<u64>();
                size.map_err(|_| unsound(name, said))
            };
            self.size = said.map(read).transpose()?;
        }
        Ok(())
    }
}

fn unsound(header: &str, said: &str) -> Trouble {
    Trouble::Unsound(format!(
        "its header {header} says `{}`, which cannot be used",
        hone_ledger::words::quoted(said)
    ))
}

/// A header as text; other bytes than visible ASCII are not what a hub sends.
fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Trouble> {
    let text = headers.get(name).map(|value| value.to_str());
    text.transpose()
        .map_err(|_| Trouble::Unsound(format!("its header {name} is not text")))
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect leads. From https it never leads to http.
fn redirected(from: &Uri, location: &str) -> Result<Uri, Trouble> {
    let bad = || {
        let location = without_credentials(location);
        let shown = hone_ledger::words::quoted(&location);
        Trouble::Unsound(format!("it redirects to `{shown}`, which is no address"))
    };
    let (scheme, authority) = from
        .scheme_str()
        .zip(from.authority())
        .expect("only whole addresses are asked");
    let bare = location.split('#').next().unwrap_or_default();
    let whole = if bare.contains("://") {
        bare.to_owned()
    } else if bare.starts_with("//") {
        format!("{scheme}:{bare}")
    } else if bare.starts_with('/') {
        format!("{scheme}://{authority}{bare}")
    } else {
        let folder = from
            .path()
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{bare}")
    };
    let to: Uri = whole.parse().map_err(|_| bad())?;
    let origin = Origin::of(&to)
        .filter(|_| !bare.is_empty())
        .ok_or_else(bad)?;
    if scheme.eq_ignore_ascii_case("https") && origin.scheme == "http" {
        return Err(Trouble::Unsound(
            "it redirects from https to http, where anybody could change the file".into(),
        ));
    }
    Ok(to)
}

fn read_seconds(said: &str) -> Option<Duration> {
    let seconds: f64 = said.parse().ok()?;
    (0.1..=3600.0)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_and_commits_are_words_that_can_be_no_path() {
        let etag = |said| Etag::parse(said).map(|etag| etag.0);
        assert_eq!(etag("W/\"abc-1\"").as_deref(), Some("abc-1"));
        for said in [
            "", "\"\"", "..", "../x", "a/b", "a\\b", "a.lock", "-x", "a b", "ä",
        ] {
            assert_eq!(etag(said), None, "{said}");
            assert_eq!(Commit::parse(said), None, "{said}");
        }
        assert_eq!(Commit::parse(&"a".repeat(129)), None);
        assert_eq!(Commit::parse("0a1b\n").unwrap().as_ref(), "0a1b");
    }

    #[test]
    fn what_a_header_says_is_told_in_one_line() {
        let told = unsound("x-repo-commit", "c)\tTo\u{1b}[2J").to_string();
        assert!(!told.contains(char::is_control), "{told:?}");
        assert!(told.contains(r"`c)\tTo\u{1b}[2J`"), "{told}");
    }

    fn to(from: &str, location: &str) -> Result<String, String> {
        let from: Uri = from.parse().unwrap();
        redirected(&from, location)
            .map(|uri| uri.to_string())
            .map_err(|trouble| trouble.to_string())
    }

    #[test]
    fn redirects_lead_to_whole_addresses_and_never_out_of_https() {
        let hub = "https://hub.test:8443/a/b?c=d";
        for (location, expected) in [
            ("/x/y?z", "https://hub.test:8443/x/y?z"),
            ("x#part", "https://hub.test:8443/a/x"),
            ("//other.test/x", "https://other.test/x"),
            ("https://other.test/x", "https://other.test/x"),
        ] {
            assert_eq!(to(hub, location).unwrap(), expected, "{location}");
        }
        assert!(
            to(hub, "http://hub.test/x")
                .unwrap_err()
                .contains("from https to http")
        );
        for location in [
            "",
            "file:///etc/passwd",
            "https://",
            "ftp://a/b",
            "http://[",
            "#",
        ] {
            assert!(
                to(hub, location).unwrap_err().contains("no address"),
                "{location}"
            );
        }
    }

    /// Pieces of headers, paths and addresses, and bytes that belong nowhere.
    fn anything(random: &mut hone_ledger::Stream) -> Vec<u8> {
        const PIECES: [&str; 24] = [
            "http://",
            "https://",
            "//",
            "/",
            "..",
            "\\",
            "@",
            ":",
            "[",
            "]",
            "#",
            "?",
            "%",
            "W/",
            "\"",
            "bytes ",
            "0-",
            "/9",
            "-1",
            "18446744073709551616",
            "\u{1b}",
            "\u{202e}",
            "a.b",
            "abc",
        ];
        let mut bytes = Vec::new();
        for _ in 0..random.below(7) {
            match random.below(8) {
                0 => bytes.push(random.next_u64() as u8),
                _ => bytes.extend(PIECES[random.below(PIECES.len() as u64) as usize].bytes()),
            }
        }
        bytes
    }

    #[test]
    fn no_header_makes_a_panic_a_path_or_a_message_of_two_lines() {
        use ureq::http::{HeaderMap, HeaderName, HeaderValue};
        const NAMES: [&str; 7] = [
            "etag",
            "x-linked-etag",
            "x-repo-commit",
            "x-linked-size",
            "content-length",
            "content-range",
            "retry-after",
        ];
        let client = Client::new("https://hub.test", None, SILENCE).unwrap();
        let mut random = hone_ledger::Seed::new(0).stream();
        let (mut heard, mut refused) = (0, 0);
        for _ in 0..20_000 {
            let mut headers = HeaderMap::new();
            for _ in 0..random.below(4) {
                let name = NAMES[random.below(NAMES.len() as u64) as usize];
                if let Ok(value) = HeaderValue::from_bytes(&anything(&mut random)) {
                    headers.insert(HeaderName::from_static(name), value);
                }
            }
            let status = [200, 206, 302][random.below(3) as usize];
            let mut told = Told::default();
            match told.hear(status, &headers, random.below(2) == 0) {
                Ok(()) => heard += 1,
                Err(trouble) => {
                    refused += 1;
                    assert!(trouble.to_string().len() < 1000, "{trouble}");
                }
            }
            let etag = told.etag.map(|etag| etag.0);
            for word in etag.into_iter().chain(told.commit.map(|commit| commit.0)) {
                let path = std::path::Path::new(&word);
                assert_eq!(path.components().count(), 1, "{word}");
                assert_eq!(
                    path.file_name().and_then(|name| name.to_str()),
                    Some(word.as_str())
                );
            }
            let body = Body::builder().data(Vec::new());
            let (status, elsewhere) = (503, None);
            let answer = Answer {
                status,
                headers,
                body,
                told: Told::default(),
                elsewhere,
            };
            let _ = (
                answer.range(),
                answer.is_plain(),
                answer.successful().is_ok(),
            );

            let from: Uri = "https://hub.test/a/b".parse().unwrap();
            let location = String::from_utf8_lossy(&anything(&mut random)).into_owned();
            if let Ok(to) = redirected(&from, &location) {
                assert_eq!(to.scheme_str(), Some("https"), "{location}");
                // Whatever it is, it is the hub or it is not: the token follows from that alone.
                let is_the_hub = Origin::of(&to) == Origin::of(&from);
                assert_eq!(client.elsewhere(&to).is_none(), is_the_hub, "{location}");
            }
        }
        assert!(heard > 1000 && refused > 1000, "{heard} {refused}");
    }

    #[test]
    fn neither_the_token_nor_credentials_are_shown() {
        let client = Client::new(
            "https://me:pass@hub.test/path/",
            Some("hf_SECRET".into()),
            SILENCE,
        )
        .unwrap();
        let shown = format!("{:?} {}", client.token, client.place());
        assert!(
            !shown.contains("SECRET") && !shown.contains("pass@"),
            "{shown}"
        );
        assert_eq!(client.place(), "https://…@hub.test/path");
    }

    #[test]
    fn settings_that_cannot_be_used_are_named() {
        for endpoint in ["hub.test", "ftp://hub.test", "https://", "https://h/?q"] {
            let refused = Client::new(endpoint, None, SILENCE)
                .unwrap_err()
                .to_string();
            assert!(refused.contains("HF_ENDPOINT"), "{refused}");
        }
        let refused = Client::new("http://h", Some("hf_\nSECRET".into()), SILENCE).unwrap_err();
        let refused = refused.to_string();
        assert!(
            refused.contains("HF_TOKEN") && !refused.contains("SECRET"),
            "{refused}"
        );
        assert_eq!(read_seconds("0.5"), Some(Duration::from_millis(500)));
        for said in ["0", "-1", "nan", "inf", "1e9", "x"] {
            assert_eq!(read_seconds(said), None, "{said}");
        }
    }
}
