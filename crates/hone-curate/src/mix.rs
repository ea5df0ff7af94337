//! How much of each collection is trained on.
//!
//! A collection's weight is its share of what is trained on. It is reached by whole repeats of all its rows
//! and, for the rest, by rows chosen by their content: never by drawing the same row twice by accident.
//! A repeated row stays one row with a count, so that curating a mixture again changes nothing.

use std::collections::BTreeMap;

use hone_ledger::{ContentId, Seed};
use serde::{Deserialize, Serialize};

use crate::{Action, Check, Doc, Entry, Family};

/// `mixed-out`.
pub static DOC: Doc = Doc {
    name: "mixed-out",
    family: Family::Quality,
    summary: "the mixture takes fewer rows of the collection than there are",
    why: "A collection ten times the size of another is trained on ten times as much, whatever it is worth; weights say what is wanted, \
          and which rows pay for it should be seen.",
    what: "Works when the recipe has [mix]: weights per collection, by rows or tokens, a temperature, a cap. Rows are repeated as a \
           whole and chosen by their content and the seed.",
    default: Action::Drop,
    params: &[],
};

/// The rule, carried out when the recipe asks for it.
pub const RULES: &[Entry] = &[Entry {
    doc: &DOC,
    check: Check::Dataset(|_| Ok(())),
}];

/// How much of each collection.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawMix {
    /// What is weighed.
    pub by: Option<MixBy>,
    /// A weight for each collection, or none for any: then each weighs as much as it has.
    #[serde(default)]
    pub weights: BTreeMap<String, f64>,
    /// Evens out sizes: weights are taken to the power of 1/temperature.
    pub temperature: Option<f64>,
    /// No collection gives more rows than this, repeats included.
    pub cap: Option<usize>,
    /// No row is repeated more often than this; 4 if not given.
    pub max_repeats: Option<usize>,
}

/// What a mixture weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MixBy {
    /// Rows.
    #[default]
    Rows,
    /// Tokens.
    Tokens,
}

/// Why a mixture cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum MixError {
    #[error("mix.temperature is {temperature}; it must be above 0")]
    Temperature { temperature: f64 },
    #[error("mix.weights.{origin} is {weight}; a weight must be at least 0")]
    Weight { origin: String, weight: f64 },
    #[error("mix.weights.{origin}: there are no rows of this collection; there are {}", known.join(", "))]
    NoSuchCollection { origin: String, known: Vec<String> },
    #[error("mix.weights has no weight for the collection {origin}, beside those of {}", weighed.join(", "))]
    NoWeight {
        origin: String,
        weighed: Vec<String>,
    },
    #[error("mix.weights: every weight is 0, which leaves no row")]
    AllZero,
}

impl MixError {
    /// The key of the recipe that is wrong.
    pub fn key(&self) -> Vec<&str> {
        match self {
            Self::Temperature { .. } => vec!["mix", "temperature"],
            Self::Weight { origin, .. } | Self::NoSuchCollection { origin, .. } => {
                vec!["mix", "weights", origin]
            }
            Self::NoWeight { .. } | Self::AllZero => vec!["mix", "weights"],
        }
    }

    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NoWeight { origin, .. } => vec![format!(
                "give it one: weights = {{ …, {origin} = 1 }}; 0 leaves it out"
            )],
            Self::AllZero => vec![
                "give one of them more than 0, or take the weights out: every row then counts alike"
                    .into(),
            ],
            _ => Vec::new(),
        }
    }
}

/// A row as a mixture sees it.
#[derive(Clone, Debug)]
pub struct Ingredient {
    /// Its collection.
    pub origin: String,
    /// Its id: which rows are repeated depends on it and the seed alone.
    pub id: ContentId,
    /// Its length, for mixtures by tokens.
    pub tokens: usize,
    /// How often it stands in the data as read.
    pub copies: usize,
}

/// One collection before and after.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Portion {
    /// The collection.
    pub origin: String,
    /// Different rows.
    pub rows: usize,
    /// Rows trained on, repeats included.
    pub copies: usize,
    /// What was weighed before (rows or tokens).
    pub before: usize,
    /// What was weighed after.
    pub after: usize,
    /// What its weight asks for.
    pub asked: usize,
    /// What kept it from giving that much.
    pub short_by: Option<Limit>,
}

/// What keeps a collection from giving what its weight asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// No row is repeated more often.
    MaxRepeats(usize),
    /// No collection gives more rows.
    Cap(usize),
}

impl Portion {
    /// That the collection gives less than it was asked for, in a sentence without a full stop; `unit` is what is weighed.
    pub fn shortfall(&self, unit: &str) -> Option<String> {
        let (limit, way_out) = match self.short_by? {
            Limit::MaxRepeats(times) => (
                format!("max-repeats = {times}"),
                "more rows of it, a higher max-repeats or other weights",
            ),
            Limit::Cap(rows) => (format!("cap = {rows}"), "a higher cap or other weights"),
        };
        let Self {
            origin,
            after,
            asked,
            ..
        } = self;
        Some(format!(
            "the mixture is not as the weights say: {origin} gives {after} of the {asked} {unit} asked for ({limit}); \
             {way_out} would give them"
        ))
    }
}

impl MixBy {
    /// What is weighed, in the plural.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Tokens => "tokens",
        }
    }
}

/// How often each row is trained on, and what that makes of each collection.
pub fn mix(
    rows: &[Ingredient],
    recipe: &RawMix,
    seed: Seed,
) -> Result<(Vec<usize>, Vec<Portion>), MixError> {
    let mut collections: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (row, ingredient) in rows.iter().enumerate() {
        collections.entry(&ingredient.origin).or_default().push(row);
    }
    let weigh = |row: usize| match recipe.by.unwrap_or_default() {
        MixBy::Rows => 1,
        MixBy::Tokens => rows[row].tokens,
    };
    let total = |members: &[usize]| {
        members
            .iter()
            .map(|&row| weigh(row) * rows[row].copies)
            .sum::<usize>()
    };
    let weights = weights(&collections, recipe, total)?;
    let (sum, whole) = (
        weights.values().sum::<f64>(),
        collections.values().map(|rows| total(rows)).sum::<usize>(),
    );
    let mut copies = vec![0; rows.len()];
    let mut portions = Vec::new();
    for (origin, members) in &collections {
        let target = weights[origin] / sum * whole as f64;
        share_out(
            members,
            target,
            weigh,
            recipe,
            |row| order_key(seed, &rows[row]),
            &mut copies,
        );
        let given: usize = members.iter().map(|&row| copies[row]).sum();
        let after: usize = members.iter().map(|&row| weigh(row) * copies[row]).sum();
        // A row more or less is rounding.
        let row = members.iter().map(|&row| weigh(row)).max().unwrap_or(0);
        let is_short = ((after + row) as f64) <= target;
        let limit = match recipe.cap {
            Some(cap) if given >= cap => Limit::Cap(cap),
            _ => Limit::MaxRepeats(max_repeats(recipe)),
        };
        portions.push(Portion {
            origin: (*origin).to_owned(),
            rows: members.len(),
            copies: given,
            before: total(members),
            after,
            asked: target.round() as usize,
            short_by: is_short.then_some(limit),
        });
    }
    Ok((copies, portions))
}

fn weights<'a>(
    collections: &BTreeMap<&'a str, Vec<usize>>,
    recipe: &RawMix,
    total: impl Fn(&[usize]) -> usize,
) -> Result<BTreeMap<&'a str, f64>, MixError> {
    let temperature = recipe.temperature.unwrap_or(1.0);
    if temperature.is_nan() || temperature <= 0.0 {
        return Err(MixError::Temperature { temperature });
    }
    for (origin, &weight) in &recipe.weights {
        let origin = origin.clone();
        if !collections.contains_key(origin.as_str()) {
            let known = collections.keys().map(ToString::to_string).collect();
            return Err(MixError::NoSuchCollection { origin, known });
        }
        if weight.is_nan() || weight < 0.0 || weight.is_infinite() {
            return Err(MixError::Weight { origin, weight });
        }
    }
    let weighed: Vec<String> = recipe.weights.keys().cloned().collect();
    let without = |origin: &&&str| !recipe.weights.contains_key(**origin);
    match collections.keys().find(without) {
        Some(origin) if !weighed.is_empty() => {
            let origin = origin.to_string();
            return Err(MixError::NoWeight { origin, weighed });
        }
        _ => {}
    }
    if !recipe.weights.is_empty() && recipe.weights.values().all(|&weight| weight == 0.0) {
        return Err(MixError::AllZero);
    }
    let all: usize = collections.values().map(|rows| total(rows)).sum();
    let own = |members: &[usize]| total(members) as f64 / all.max(1) as f64;
    let weight = |(&origin, members): (&&'a str, &Vec<usize>)| {
        let size = own(members).powf(1.0 / temperature);
        (origin, recipe.weights.get(origin).copied().unwrap_or(size))
    };
    Ok(collections.iter().map(weight).collect())
}

fn max_repeats(recipe: &RawMix) -> usize {
    recipe.max_repeats.unwrap_or(4).max(1)
}

/// Whole repeats of all rows, then rows in the order of `key` for what is left of the target.
fn share_out(
    members: &[usize],
    target: f64,
    weigh: impl Fn(usize) -> usize,
    recipe: &RawMix,
    key: impl Fn(usize) -> ContentId,
    copies: &mut [usize],
) {
    let once: usize = members.iter().map(|&row| weigh(row)).sum();
    let max_repeats = max_repeats(recipe);
    let whole = ((target / once.max(1) as f64 + 1e-9) as usize).min(max_repeats);
    members.iter().for_each(|&row| copies[row] = whole);
    let mut order = members.to_vec();
    order.sort_by_cached_key(|&row| key(row));
    let mut left = target - (whole * once) as f64;
    if whole < max_repeats {
        for &row in &order {
            // Half a row over the target is nearer to it than the whole row under it.
            if left < weigh(row) as f64 / 2.0 {
                break;
            }
            copies[row] += 1;
            left -= weigh(row) as f64;
        }
    }
    let Some(cap) = recipe.cap else { return };
    let mut over = members
        .iter()
        .map(|&row| copies[row])
        .sum::<usize>()
        .saturating_sub(cap);
    while over > 0 {
        let most = members.iter().map(|&row| copies[row]).max().unwrap_or(0);
        for &row in order
            .iter()
            .rev()
            .filter(|&&row| copies[row] == most)
            .take(over)
            .collect::<Vec<_>>()
        {
            copies[row] -= 1;
            over -= 1;
        }
    }
}

fn order_key(seed: Seed, ingredient: &Ingredient) -> ContentId {
    ContentId::of(format!("{:016x} {}", seed.value(), ingredient.id).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(sizes: &[(&str, usize)]) -> Vec<Ingredient> {
        let of = |(origin, count): &(&str, usize)| {
            let origin = origin.to_string();
            (0..*count)
                .map(move |index| Ingredient {
                    id: ContentId::of(format!("{origin}{index}").as_bytes()),
                    origin: origin.clone(),
                    tokens: 10,
                    copies: 1,
                })
                .collect::<Vec<_>>()
        };
        sizes.iter().flat_map(of).collect()
    }

    fn portions(rows: &[Ingredient], recipe: &str) -> Vec<(usize, usize)> {
        let recipe: RawMix = toml::from_str(recipe).unwrap();
        let (_, portions) = mix(rows, &recipe, Seed::new(0)).unwrap();
        portions
            .iter()
            .map(|portion| (portion.rows, portion.copies))
            .collect()
    }

    #[test]
    fn weights_are_reached_by_whole_repeats_and_a_remainder() {
        let rows = rows(&[("a", 90), ("b", 10)]);
        assert_eq!(
            portions(&rows, "weights = { a = 3, b = 1 }"),
            [(90, 75), (10, 25)]
        );
        assert_eq!(
            portions(&rows, "weights = { a = 3, b = 1 }\nmax-repeats = 2"),
            [(90, 75), (10, 20)]
        );
        assert_eq!(portions(&rows, "cap = 40"), [(90, 40), (10, 10)]);
        assert_eq!(portions(&rows, ""), [(90, 90), (10, 10)]);
        assert_eq!(
            portions(&rows, "weights = { a = 1, b = 0 }"),
            [(90, 100), (10, 0)]
        );
    }

    #[test]
    fn a_collection_that_gives_less_than_its_weight_asks_for_is_told() {
        let told = |recipe: &str| -> Vec<String> {
            let recipe: RawMix = toml::from_str(recipe).unwrap();
            let (_, portions) = mix(&rows(&[("a", 100), ("b", 5)]), &recipe, Seed::new(0)).unwrap();
            let told = portions
                .iter()
                .filter_map(|portion| portion.shortfall("rows"));
            told.collect()
        };
        let short = told("weights = { a = 1, b = 1 }");
        assert_eq!(short.len(), 1, "{short:?}");
        assert!(
            short[0].contains("b gives 20 of the 53 rows asked for (max-repeats = 4)"),
            "{short:?}"
        );
        assert!(told("weights = { a = 1, b = 1 }\nmax-repeats = 11").is_empty());
        let capped = told("weights = { a = 1, b = 1 }\nmax-repeats = 11\ncap = 30");
        assert!(
            capped.len() == 2 && capped[0].contains("a gives 30 of the 53 rows"),
            "{capped:?}"
        );
        // Without weights nothing was asked for.
        assert!(told("").is_empty());
    }

    #[test]
    fn a_collection_without_a_weight_beside_weighted_ones_is_refused() {
        let recipe: RawMix = toml::from_str("weights = { a = 1 }").unwrap();
        let error = mix(&rows(&[("a", 9), ("b", 1)]), &recipe, Seed::new(0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "mix.weights has no weight for the collection b, beside those of a"
        );
    }

    #[test]
    fn weights_that_are_all_zero_are_refused() {
        let recipe: RawMix = toml::from_str("weights = { a = 0, b = 0 }").unwrap();
        let error = mix(&rows(&[("a", 9), ("b", 1)]), &recipe, Seed::new(0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "mix.weights: every weight is 0, which leaves no row"
        );
    }

    #[test]
    fn temperature_evens_out_sizes() {
        let rows = rows(&[("a", 81), ("b", 9)]);
        // 9 : 3 of 90 rows.
        assert_eq!(portions(&rows, "temperature = 2"), [(81, 68), (9, 23)]);
    }

    #[test]
    fn mixing_a_mixture_again_changes_nothing() {
        let mut rows = rows(&[("a", 90), ("b", 10)]);
        let recipe: RawMix = toml::from_str("weights = { a = 3, b = 1 }").unwrap();
        let (first, _) = mix(&rows, &recipe, Seed::new(3)).unwrap();
        rows.iter_mut()
            .zip(&first)
            .for_each(|(row, &copies)| row.copies = copies);
        let (mut kept, copies): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .zip(first)
            .filter(|(_, copies)| *copies > 0)
            .unzip();
        assert_eq!(mix(&kept, &recipe, Seed::new(3)).unwrap().0, copies);
        kept.reverse();
        let again: Vec<usize> = mix(&kept, &recipe, Seed::new(3))
            .unwrap()
            .0
            .into_iter()
            .rev()
            .collect();
        assert_eq!(again, copies, "whatever the order of rows");
    }

    #[test]
    fn a_weight_of_a_collection_that_is_not_there_is_refused() {
        let recipe: RawMix = toml::from_str("weights = { c = 1 }").unwrap();
        let error = mix(&rows(&[("a", 1)]), &recipe, Seed::new(0))
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("there are no rows of this collection; there are a"),
            "{error}"
        );
    }
}
