//! Any answers of a hub, to a whole pull: lists of files, headers, redirects, parts of files, and bytes.
//!
//! A server on loopback is the proxy of every address, so that no redirect leads out of this machine. It gives one answer
//! after the other, whatever it is asked. Nothing that they say leads out of the cache, and the token goes to the hub alone.

#![no_main]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use hone::base::{HubId, PullEvent, PullWatch};
use hone_fuzz::{DIR, assert_one_line};
use libfuzzer_sys::fuzz_target;

const HUB: &str = "hub.invalid";
/// Wherever the cache lies, what is beside it shows what was written outside.
const CACHE: &str = "hub/cache";

static ANSWERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
/// Where the token was seen that it must not go.
static LEAK: Mutex<Option<String>> = Mutex::new(None);

/// The place for everything, with the server started.
static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let proxy = format!("http://{}", listener.local_addr().expect("an address"));
    let place = DIR.path().join("place");
    let cache = place.join(CACHE).display().to_string();
    for (name, value) in [
        ("ALL_PROXY", proxy.as_str()),
        ("HF_ENDPOINT", "http://hub.invalid"),
        ("HF_TOKEN", "secret"),
        ("HF_HUB_CACHE", &cache),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "1"),
    ] {
        // SAFETY: no other thread of ours has begun.
        unsafe { std::env::set_var(name, value) };
    }
    for name in ["NO_PROXY", "no_proxy", "HF_HUB_OFFLINE"] {
        // SAFETY: as above.
        unsafe { std::env::remove_var(name) };
    }
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let _ = serve(&connection);
        }
    });
    place
});

/// Answers one question. Errors are those of a client that has left.
fn serve(connection: &TcpStream) -> std::io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut reader = BufReader::new(connection);
    let (mut line, mut has_token) = read_question(&mut reader)?;
    let mut host = None;
    if let Some(tunnel) = line.strip_prefix("CONNECT ") {
        host = tunnel.split(' ').next().map(str::to_owned);
        (&mut &*connection).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        // No certificate of ours would be believed.
        if reader.fill_buf()?.first() == Some(&0x16) {
            return Ok(());
        }
        (line, has_token) = read_question(&mut reader)?;
    }
    let asked = line.split(' ').nth(1).unwrap_or_default();
    let host = host.unwrap_or_else(|| {
        let whole = asked.strip_prefix("http://").unwrap_or_default();
        whole.split('/').next().unwrap_or_default().to_owned()
    });
    let is_hub = [HUB.to_owned(), format!("{HUB}:80")].contains(&host.to_ascii_lowercase());
    if has_token && !is_hub {
        *LEAK.lock().expect("no panic here") = Some(host);
    }
    let answer = ANSWERS.lock().expect("no panic here").pop();
    (&mut &*connection).write_all(&answer.unwrap_or_default())
}

/// The first line of a question, and whether the token came with it.
fn read_question(reader: &mut impl BufRead) -> std::io::Result<(String, bool)> {
    let (mut first, mut has_token) = (String::new(), false);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok((first, has_token));
        }
        has_token |= line.to_ascii_lowercase().starts_with("authorization:");
    }
}

/// An answer as it goes over the wire: from `STATUS`, lines of headers, an empty line and a body, each line ended as HTTP
/// wants it, closed after it. What begins as HTTP goes as it is.
fn on_the_wire(told: &[u8]) -> Vec<u8> {
    if told.starts_with(b"HTTP/") {
        return told.to_vec();
    }
    let end = told.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = told.split_at(end.unwrap_or(told.len()));
    let body = body.get(2..).unwrap_or_default();
    let mut answer = b"HTTP/1.1 ".to_vec();
    for line in head.split(|byte| *byte == b'\n') {
        answer.extend(line);
        answer.extend(b"\r\n");
    }
    let is_told = head.windows(15).any(|word| word == b"content-length:");
    if !is_told {
        answer.extend(format!("content-length: {}\r\n", body.len()).bytes());
    }
    answer.extend(b"connection: close\r\n\r\n");
    answer.extend(body);
    answer
}

/// Waits for nothing: whoever would ask again stops.
struct Impatient {
    is_stopped: bool,
}

impl PullWatch for Impatient {
    fn tell(&mut self, event: PullEvent<'_>) {
        match event {
            PullEvent::AskingAgain { because, .. } => {
                assert_one_line(because);
                self.is_stopped = true;
            }
            PullEvent::Waiting { .. } => panic!("nobody else is at work"),
            PullEvent::Planned { .. } | PullEvent::Bytes { .. } => {}
        }
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, told)) = input.split_first() else {
        return;
    };
    let place = PLACE.as_path();
    let _ = fs::remove_dir_all(place);
    let cache = place.join(CACHE);
    let repository = cache.join("models--own--mod");
    fs::create_dir_all(repository.join("blobs")).expect("a directory");
    if choice & 2 != 0 {
        // An earlier pull was killed.
        fs::write(repository.join("blobs/e.incomplete"), b"{").expect("room for a byte");
    }
    let mut answers: Vec<Vec<u8>> = told.split(|byte| *byte == 0).map(on_the_wire).collect();
    answers.reverse();
    *ANSWERS.lock().expect("no panic there") = answers;
    let asked = match choice & 1 {
        0 => "own/mod",
        _ => "own/mod/m.gguf",
    };
    let id = HubId::parse(asked).expect("an id");
    match id.fetch(&mut Impatient { is_stopped: false }) {
        Err(error) => {
            assert_one_line(&error.to_string());
            error.hints().iter().for_each(|hint| assert_one_line(hint));
        }
        Ok((path, _)) => assert!(path.starts_with(&cache) && path.exists()),
    }
    assert_eq!(*LEAK.lock().expect("no panic there"), None);
    for (dir, only) in [(place.to_path_buf(), "hub"), (place.join("hub"), "cache")] {
        for entry in fs::read_dir(dir).expect("a directory") {
            assert_eq!(entry.expect("a directory").file_name(), only);
        }
    }
    stays_inside(&cache, &cache);
});

/// No link of the cache leads out of it.
fn stays_inside(dir: &Path, cache: &Path) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("a directory");
        let (path, kind) = (entry.path(), entry.file_type().expect("a directory"));
        if kind.is_symlink() {
            let end = path.canonicalize().expect("a link leads to a file");
            assert!(end.starts_with(cache), "{} leads out", path.display());
        } else if kind.is_dir() {
            stays_inside(&path, cache);
        }
    }
}
