//! `docs/rows.md` says what the code does: `UPDATE_PAGES=1 cargo test -p hone-data --test pages` writes it anew.

use std::fs;
use std::path::Path;

#[test]
fn the_page_about_rows_is_made_from_the_tables_that_reading_follows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rows.md");
    let made = hone_data::pages::rows();
    if std::env::var_os("UPDATE_PAGES").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == made,
        "docs/rows.md is stale; UPDATE_PAGES=1 cargo test -p hone-data --test pages"
    );
}
