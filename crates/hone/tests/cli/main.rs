//! The command line as a user meets it: what it says, what it leaves, how it ends.

mod benchmarks;
mod chat_template;
mod command;
mod curation;
mod decisions;
mod deploy;
mod evaluation;
mod files_beside;
#[path = "../imitated_hub/mod.rs"]
mod imitated_hub;
mod judge;
mod kept_safe;
mod messages;
mod methods;
mod one_reader;
mod optimizer;
mod personal_data;
mod pull;
#[cfg(unix)]
mod quickstart;
mod refusals;
mod road;
mod screens;
mod sides;
mod strangers;
#[cfg(target_os = "linux")]
mod streaming;
mod tasks;
mod usable;
mod vocabulary;
mod watching;
