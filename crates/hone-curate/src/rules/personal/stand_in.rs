//! Words that stand where a secret would: what documentation and examples write in its place.

/// Is this a word that stands where a secret would?
pub fn is_stand_in(secret: &str) -> bool {
    let lower = secret.to_ascii_lowercase();
    let first = lower.chars().next();
    let shown = [
        "password",
        "passwd",
        "pass",
        "pwd",
        "secret",
        "token",
        "changeme",
        "change_me",
        "hunter2",
        "admin",
        "root",
        "test",
        "user",
        "guest",
        "postgres",
        "mysql",
    ];
    lower.starts_with("password")
        || lower.starts_with("passwort")
        || lower.chars().all(|c| Some(c) == first)
        || shown.contains(&lower.as_str())
        || lower.starts_with(['<', '$', '{', '[', '%', '*'])
        || [
            "your",
            "example",
            "xxxx",
            "****",
            "...",
            "…",
            "placeholder",
            "redacted",
            "dummy",
            "my_",
            "my-",
            "mypass",
            "insert",
            "sample",
        ]
        .iter()
        .any(|word| lower.contains(word))
}
