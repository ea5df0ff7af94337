//! What is made of the table of options, and the macro that makes it.
//!
//! A macro and not a trait with a type for each option, as ripgrep has it: our options are typed, and clap's and serde's
//! derives read flags and files into a struct with a field for each. Whatever needs no types goes the other way, through
//! `OPTIONS` and the JSON of `Settings`, so that the macro stays a list of five things.

use super::error::SettingError;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What is known of an option whatever its type.
#[derive(Debug, Clone, Copy)]
pub struct OptionInfo {
    /// Its name, as a flag and as a key.
    pub name: &'static str,
    /// Where it stands in help and on the page.
    pub section: &'static str,
    /// What it comes to where nobody says and there is no value to show; empty if nothing has to be said.
    pub otherwise: &'static str,
    /// Whether a plan tells of it in a line about something else.
    pub is_fact: bool,
    /// Why it may be another one when a run goes on, if it may.
    pub on_resume: Option<OnResume>,
    /// A value that does something, as a run file has it.
    pub example: &'static str,
    /// What other programs call it, a space between two names, and what is different about those; empty where nothing is.
    pub elsewhere: &'static [(&'static str, &'static str)],
}

/// Why an option changes no number of a run that goes on. All others are part of its identity, those that are yet to be
/// invented too.
#[derive(Debug, Clone, Copy)]
pub struct OnResume {
    /// What kind of option it is.
    pub kind: ResumeKind,
    /// Why.
    pub why: &'static str,
}

/// What kind of option may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResumeKind {
    /// It says where something lies, which has to be the same.
    Place,
    /// It belongs to the moment, and is not kept for the next time.
    Moment,
    /// The run has it from now on.
    Free,
}

/// Reads one of some words, each written `word: what it means`, as what serde makes of it.
pub(super) fn one_of<T>(words: &[&'static str]) -> impl TypedValueParser<Value = T> + use<T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    let values = words.iter().map(|word| {
        let (word, meaning) = word.split_once(": ").unwrap_or((word, ""));
        PossibleValue::new(word).help(meaning)
    });
    PossibleValuesParser::new(values.collect::<Vec<_>>()).map(|word| {
        serde_json::from_value(Value::String(word)).expect("serde knows the words of the table")
    })
}

/// A value as a person types it.
pub(super) fn typed(value: &impl Serialize) -> String {
    as_typed(&serde_json::to_value(value).unwrap_or_default())
}

pub(super) fn as_typed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // 32 and not 32.0.
        Value::Number(number) if number.is_f64() => number.as_f64().unwrap_or(f64::NAN).to_string(),
        Value::Array(values) => values.iter().map(as_typed).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Refuses to go without an option; what to type is a hint.
pub(super) fn lacking<T>(name: &'static str, hint: &'static str) -> Result<T, SettingError> {
    Err(SettingError::Missing { name, hint })
}

pub(super) fn out_of_range(
    name: &'static str,
    value: &impl Serialize,
    range: &'static str,
) -> SettingError {
    let value = match serde_json::to_value(value) {
        // JSON has no NaN and no infinity.
        Ok(Value::Null) | Err(_) => "no finite number".to_owned(),
        Ok(Value::Array(values)) if values.is_empty() => "empty".to_owned(),
        Ok(value) => as_typed(&value),
    };
    SettingError::OutOfRange { name, value, range }
}

/// A field's name as people type it.
pub(super) const fn dashed<const N: usize>(name: &str) -> [u8; N] {
    let (mut dashed, mut at) = ([0; N], 0);
    while at < N {
        let byte = name.as_bytes()[at];
        dashed[at] = if byte == b'_' { b'-' } else { byte };
        at += 1;
    }
    dashed
}

/// The name of an option, of its field.
macro_rules! named {
    ($field:ident) => {{
        const NAME: &[u8] = &dashed::<{ stringify!($field).len() }>(stringify!($field));
        match std::str::from_utf8(NAME) {
            Ok(name) => name,
            Err(_) => unreachable!(),
        }
    }};
}

/// What may be left out of an entry: the type and the value of an option without a default, and more.
macro_rules! or_none {
    (type $kind:ty) => { Option<$kind> };
    (type $kind:ty = $default:expr) => { $kind };
    () => { None };
    ($some:expr) => { $some };
}

/// `RawTrain`, `Settings`, how one becomes the other, and `OPTIONS`, of entries as `options.rs` describes them.
macro_rules! options {
    (|$given:ident, $machine:ident| $($section:literal {$(
        $(#[doc = $doc:literal])+
        $(#[arg($($arg:tt)*)])?
        $(#[serde($($serde:tt)*)])?
        $name:ident $value_name:literal: $kind:ty $(= $default:expr $(, $origin:ident)?)?;
        $(otherwise $otherwise:literal;)?
        $(range $range:literal, $holds:expr;)?
        $(a $fact:ident;)?
        $(on resume $resume:ident $why:literal;)?
        example $example:expr;
        $(elsewhere $names:literal $(, $note:literal)?;)*
    )+})+) => {
        /// Options as a person wrote them, as flags or in a run file; none of them has to be there.
        #[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub struct RawTrain {$($(
            $(#[doc = $doc])+
            #[arg(long, value_name = $value_name, help_heading = $section)]
            #[arg(help = help(named!($name), concat!($($doc),+)))]
            $(#[arg($($arg)*)])?
            $(#[serde($($serde)*)])?
            #[serde(skip_serializing_if = "Option::is_none")]
            pub $name: Option<$kind>,
        )+)+}

        impl RawTrain {
            /// These options, and those of a file where these say nothing.
            pub fn over(&self, file: &Self) -> Self {
                // Either of two says where the validation set is from, so that a flag of one kind replaces a key of the other.
                let is_said = self.valid.is_some() || self.valid_share.is_some();
                let mut both = Self {
                    $($($name: self.$name.clone().or_else(|| file.$name.clone()),)+)+
                };
                if is_said {
                    both.valid.clone_from(&self.valid);
                    both.valid_share = self.valid_share;
                }
                both
            }
        }

        /// Every option decided: what it is, and who said so. [`RawTrain`] describes each.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        #[serde(rename_all = "kebab-case")]
        #[allow(missing_docs)]
        pub struct Settings {
            $($(pub $name: Chosen<or_none!(type $kind $(= $default)?)>,)+)+
            /// What was found of the base, once it is known.
            #[serde(skip)]
            pub base: BaseFacts,
        }

        impl Settings {
            /// What was `given`, by `flags` or else by a file, and what is assumed where nothing was.
            pub(super) fn decide(
                flags: &RawTrain,
                $given: &RawTrain,
                by_file: Origin,
                $machine: Machine,
            ) -> Result<Self, SettingError> {
                let settings = Self {
                    $($($name: match $given.$name.clone() {
                        Some(value) if flags.$name.is_some() => Chosen::new(value.into(), Origin::Flag),
                        Some(value) => Chosen::new(value.into(), by_file),
                        None => Chosen::new(
                            or_none!($($default)?),
                            [$($(Origin::$origin,)?)? Origin::Default][0],
                        ),
                    },)+)+
                    base: BaseFacts::default(),
                };
                $($($(if let Some(value) = &$given.$name {
                    let holds: fn(&$kind, &Self) -> bool = $holds;
                    if !holds(value, &settings) {
                        return Err(out_of_range(named!($name), value, $range));
                    }
                })?)+)+
                Ok(settings)
            }
        }

        /// What is known of every option whatever its type.
        pub static OPTIONS: &[OptionInfo] = &[$($(OptionInfo {
            name: named!($name),
            section: $section,
            otherwise: concat!("" $(, $otherwise)?),
            is_fact: !concat!("" $(, stringify!($fact))?).is_empty(),
            on_resume: or_none!($(Some(OnResume { kind: ResumeKind::$resume, why: $why }))?),
            example: stringify!($example),
            elsewhere: &[$(($names, concat!("" $(, $note)?))),*],
        },)+)+];
    };
}

pub(super) use {named, options, or_none};
