//! Hubs that say what is not so: other bytes, other sizes, places outside, pages in place of files.

use super::*;

#[test]
fn left_overs_of_other_bytes_are_not_gone_on_with() {
    let place = Place::new();
    let etag = sha256(repository().bytes(WEIGHTS));
    let partial = cache(&place)
        .join("blobs")
        .join(format!("{etag}.incomplete"));
    for left in [vec![7; 100], vec![7; 1 << 20]] {
        let _ = std::fs::remove_dir_all(place.path("hf"));
        std::fs::create_dir_all(partial.parent().unwrap()).unwrap();
        std::fs::write(&partial, left).unwrap();
        assert_eq!(pull(&place, &honest()).code, 0);
        assert!(is_whole(&place) && !partial.exists());
    }
}

#[test]
fn one_etag_for_files_of_two_sizes_is_refused_before_one_takes_the_others_place() {
    let (place, hub) = (
        Place::new(),
        lying(|request, reply| match request.file() {
            Some(_) => reply.with("etag", "\"same\""),
            None => reply,
        }),
    );
    let said = refused(&place, &hub);
    assert!(
        said.contains("its etag is that of another file, which has another size"),
        "{said}"
    );
    assert_eq!(tree(&cache(&place)), BTreeSet::new());
}

#[test]
fn pages_in_place_of_files_are_not_taken_for_a_model() {
    let page = |request: &Request, reply: Reply| match request.file() {
        Some(_) => Reply {
            body: b"<html>log in</html>".to_vec(),
            ..Reply::status(200)
        }
        .with("etag", "\"page\"")
        .with("x-repo-commit", COMMIT),
        None => reply,
    };
    let (place, hub) = (Place::new(), lying(page));
    let said = refused(&place, &hub);
    assert!(
        said.contains("`own/mod` is not whole on the hub: config.json is"),
        "{said}"
    );
    assert_eq!(pull(&place, &honest()).code, 0);
    assert!(is_whole(&place));
}

#[test]
#[cfg(unix)]
fn a_link_in_place_of_gathered_bytes_leads_to_no_file_of_somebodys() {
    let (place, hub) = (Place::new(), honest());
    place.write("thesis.txt", "precious");
    let blobs = cache(&place).join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let partial = format!("{}.incomplete", sha256(repository().bytes(WEIGHTS)));
    std::os::unix::fs::symlink(place.path("thesis.txt"), blobs.join(&partial)).unwrap();
    let said = refused(&place, &hub);
    assert!(
        said.contains(&partial) && said.contains("hint: move away"),
        "{said}"
    );
    let thesis = std::fs::read_to_string(place.path("thesis.txt")).unwrap();
    assert_eq!(thesis, "precious");
}

#[test]
fn bytes_of_another_hash_or_size_are_not_kept() {
    type Lie = fn(&Request, Reply) -> Reply;
    let lies: [(Lie, &str); 5] = [
        (
            |_, mut reply| {
                reply.body.reverse();
                reply
            },
            "its sha256 is ",
        ),
        (
            |_, reply| reply.with("x-linked-size", "100"),
            "its size is at least ",
        ),
        (
            |_, reply| reply.with("x-linked-size", "99999999"),
            "its size is 202456, the hub promised 99999999",
        ),
        (
            |request, reply| match request.is_head() {
                true => reply,
                false => Reply {
                    status: 206,
                    ..reply.with("content-range", "bytes 7-20/30")
                },
            },
            "it sends bytes from 7 on, asked for those from 0 on",
        ),
        (
            |_, reply| reply.with("content-encoding", "gzip"),
            "it sends the file compressed",
        ),
    ];
    for (lie, expected) in lies {
        let place = Place::new();
        let hub = lying(move |request, reply| match request.file() {
            Some(WEIGHTS) => lie(request, reply),
            _ => reply,
        });
        let said = refused(&place, &hub);
        assert!(said.contains(expected) && said.contains(WEIGHTS), "{said}");
        assert!(
            !snapshot(&place).join(WEIGHTS).exists() && !cache(&place).join("refs/main").exists()
        );
        let blobs = cache(&place).join("blobs");
        assert!(!blobs.join(sha256(repository().bytes(WEIGHTS))).exists());
    }
}

#[test]
fn what_a_hub_says_names_no_place_outside_the_cache() {
    let evil: [(&str, &[u8]); 9] = [
        ("etag", b"\"../../../evil\""),
        ("etag", b"\"/tmp/evil\""),
        ("etag", b"\"\""),
        ("etag", b"\"evil\x1b[2J\""),
        ("etag", b"\xff\xfe"),
        ("x-linked-etag", b"..\\evil"),
        ("x-repo-commit", b"../../../../evil"),
        ("x-repo-commit", b"another"),
        ("x-linked-size", b"-1"),
    ];
    for (name, value) in evil {
        let place = Place::new();
        let hub = lying(move |request, reply| match request.file() {
            Some(_) => reply.with(name, value),
            None => reply,
        });
        let said = refused(&place, &hub);
        assert!(
            said.contains("cannot be used") && !said.contains('\x1b'),
            "{name}: {said}"
        );
        assert_eq!(tree(place.path("").as_path()), BTreeSet::new(), "{name}");
    }
}

#[test]
fn names_that_lead_out_of_their_directory_are_not_asked_for() {
    for (name, weights) in [
        (
            "additional_chat_templates/..\\\\..\\\\evil.jinja",
            "model.safetensors",
        ),
        (
            "model-..\\u001b[2J.safetensors",
            "model.safetensors.index.json",
        ),
    ] {
        let place = Place::new();
        let honest = repository();
        let hub = Hub::start(move |request| {
            match request.file() {
            Some(_) => honest.reply(request),
            None => Reply {
                body: format!(
                    "{{\"sha\":\"{COMMIT}\",\"siblings\":[{{\"rfilename\":\"config.json\"}},{{\"rfilename\":\"{name}\"}},\
                     {{\"rfilename\":\"{weights}\"}}]}}"
                )
                .into_bytes(),
                ..Reply::status(200)
            },
        }
        });
        let said = refused(&place, &hub);
        assert!(
            said.contains("its name leads out of its directory") && !said.contains('\x1b'),
            "{said}"
        );
        assert!(hub.seen().iter().all(|asked| !asked.path.contains("evil")));
        assert_eq!(tree(place.path("").as_path()), BTreeSet::new());
    }
}

#[test]
fn a_list_of_files_that_is_none_is_one_sentence() {
    let long = format!("{{\"sha\":\"{}\"}}", "a".repeat(100_000));
    for body in [
        "",
        "<html>",
        "{\"sha\":\"../x\",\"siblings\":[]}",
        "[[[[[[[[",
        &long,
    ] {
        let place = Place::new();
        let body = body.to_owned();
        let hub = Hub::start(move |_| Reply {
            body: body.clone().into_bytes(),
            ..Reply::status(200)
        });
        let said = refused(&place, &hub);
        assert!(
            said.starts_with(
                "error: what HUB says of the list of files of `own/mod` cannot be used: "
            ) && said.len() < 1000,
            "{said}"
        );
    }
}

#[test]
fn the_token_goes_to_the_hub_and_to_nobody_else() {
    let place = Place::new();
    let elsewhere = honest();
    let target = elsewhere.address().to_owned();
    let honest = repository();
    let hub = Hub::start(move |request| {
        let reply = honest.reply(request);
        match request.file() {
            Some(WEIGHTS) => {
                let linked = honest.bytes(WEIGHTS);
                Reply::status(302)
                    .with("location", format!("{target}{}", request.path))
                    .with("x-repo-commit", COMMIT)
                    .with("x-linked-etag", format!("\"{}\"", sha256(linked)))
                    .with("x-linked-size", linked.len().to_string())
            }
            // An address on the hub itself, as after a repository was renamed.
            Some(file) if request.path.starts_with("/own/mod/") => {
                Reply::status(307).with("location", format!("/new/mod/resolve/{COMMIT}/{file}"))
            }
            // Another place, whose own words about the file are all there is.
            Some("tokenizer.json") => {
                Reply::status(302).with("location", format!("{target}{}", request.path))
            }
            _ => reply,
        }
    });
    let output = pull_of(&place, hub.address(), "own/mod")
        .env("HF_TOKEN", "hf_SECRETSECRET")
        .output()
        .unwrap();
    let ran: Ran = output.into();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        is_whole(&place) && !ran.stderr.contains("SECRET"),
        "{}",
        ran.stderr
    );
    let asked = |hub: &Hub| -> BTreeSet<Option<String>> {
        hub.seen()
            .into_iter()
            .map(|request| request.authorization)
            .collect()
    };
    assert_eq!(
        asked(&hub),
        BTreeSet::from([Some("Bearer hf_SECRETSECRET".to_owned())])
    );
    assert_eq!(asked(&elsewhere), BTreeSet::from([None]));
}

#[test]
fn redirects_end() {
    for (location, expected) in [
        ("/own/mod/resolve/again", "it redirects more than 5 times"),
        ("file:///etc/passwd", "which is no address"),
        ("", "which is no address"),
        (
            "http://me:pass@[",
            "redirects to `http://…@[`, which is no address",
        ),
    ] {
        let place = Place::new();
        let hub = lying(move |request, reply| match request.file() {
            Some(_) => Reply::status(302).with("location", location),
            None if request.path.contains("again") => Reply::status(302).with("location", location),
            None => reply,
        });
        let said = refused(&place, &hub);
        assert!(
            said.contains(expected) && !said.contains("pass@"),
            "{location}: {said}"
        );
    }
}
