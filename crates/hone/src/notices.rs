//! What is said about a base that was opened, before anything is done with it.

use crate::base::{FormOrigin, OpenBase};
use crate::screen::Talk;

/// Says what a user would not expect: the chat template, where it is not the model's own, and what was assumed about its
/// files.
pub fn say_notices(open: &OpenBase, talk: Talk) {
    match open.form.origin() {
        FormOrigin::Model { .. } => {}
        FormOrigin::Missing => {
            let origin = open.form.origin();
            talk.warn(format!(
                "chat template: {origin}; --chat-template takes another, as chatml or a .jinja file"
            ));
        }
        other => talk.say(format!("chat template: {other}")),
    }
    for notice in open.notices() {
        talk.warn(notice);
    }
}
