//! The command line as a user meets it: what it says, what it leaves, how it ends.

mod command;
mod curation;
mod deploy;
mod methods;
mod optimizer;
mod refusals;
mod road;
mod screens;
#[cfg(target_os = "linux")]
mod streaming;
mod vocabulary;
