//! From what was asked for to what is trained: names become projections, each with its rank and alpha.

use super::config::{AttachError, Ia3, Initial, LoraConfig, Targets, TrainedBias, target_matches};
use super::layout::{Member, Wanted, WantedEmbedding};
use crate::site::Site;
use crate::weights::{DecoderConfig, Group, Part};

impl Wanted {
    /// Everything that a configuration names, each name checked to mean something.
    pub fn of(config: &LoraConfig, base: &DecoderConfig) -> Result<Self, AttachError> {
        config.check()?;
        let (whole, embedding_whole) = select_whole(&config.whole, base)?;
        let mut chosen = select(config, base)?;
        refuse_at_parameters(config, &chosen.sites)?;
        chosen.sites.retain(|site| !whole.contains(site));
        let token_rows = known_tokens(&config.token_rows, base)?;
        let head_rows = known_tokens(&config.head_rows, base)?;
        let is_head = |site: &Site| site.is_head();
        let has_head = whole.iter().chain(&chosen.sites).any(is_head);
        if !head_rows.is_empty() && (base.tied_head || has_head) {
            return Err(AttachError::Together {
                first: "trained rows of the head",
                second: match base.tied_head {
                    true => "a head that is tied to the embedding",
                    false => "another adapter of the head",
                },
            });
        }
        if !token_rows.is_empty() && (embedding_whole || chosen.embedding) {
            return Err(AttachError::Together {
                first: "trained token rows",
                second: "another adapter of the embedding",
            });
        }
        let low_rank = chosen.embedding.then_some((config.rank, config.alpha));
        let mut wanted = Self {
            rank_stabilised: config.rank_stabilised,
            dora: config.dora,
            biases: biases(config, &chosen.sites, base)?,
            whole,
            embedding: WantedEmbedding {
                low_rank: low_rank.filter(|_| !embedding_whole),
                whole: embedding_whole,
                token_rows,
                head_rows,
            },
            ..Self::default()
        };
        if wanted.embedding.low_rank.is_some() && (config.dora || config.initial.is_subtracted()) {
            return Err(AttachError::Together {
                first: "a low-rank adapter of `embed_tokens`",
                second: "DoRA or a start from the base's own vectors",
            });
        }
        match &config.ia3 {
            Some(ia3) => wanted.factors = factors(ia3, &chosen, config)?,
            None => wanted.members = members(config, &chosen)?,
        }
        Ok(wanted)
    }
}

impl LoraConfig {
    /// The same with the rows of new tokens trained, at the embedding and at a head that is not tied to it; where one of
    /// them is trained whole, they are trained with it.
    ///
    /// # Errors
    /// Modules trained whole that the base does not have.
    pub fn with_new_tokens(
        mut self,
        tokens: &[u32],
        base: &DecoderConfig,
    ) -> Result<Self, AttachError> {
        let (whole, embedding_whole) = select_whole(&self.whole, base)?;
        if !embedding_whole {
            self.token_rows.extend(tokens);
        }
        if !base.tied_head && !whole.iter().any(|site| site.is_head()) {
            self.head_rows.extend(tokens);
        }
        Ok(self)
    }
}

/// What targets name.
struct Chosen {
    sites: Vec<Site>,
    embedding: bool,
    /// Gates and ups of experts were named as the two that they once were: their pair gets both ranks and both alphas.
    is_doubled: bool,
}

/// PEFT adapts routers and experts as parameters, and parameters with plain LoRA only.
fn refuse_at_parameters(config: &LoraConfig, sites: &[Site]) -> Result<(), AttachError> {
    if !sites.iter().any(|site| site.place().is_parameter) {
        return Ok(());
    }
    let methods = [
        (config.dropout > 0.0, "dropout"),
        (config.dora, "DoRA"),
        (
            config.initial != Initial::Random,
            "a start from the base's own vectors",
        ),
        (config.ia3.is_some(), "IA3"),
    ];
    match methods.into_iter().find(|(is_asked, _)| *is_asked) {
        Some((_, first)) => Err(AttachError::Together {
            first,
            second: "an adapter on experts or their router",
        }),
        None => Ok(()),
    }
}

/// The sites that a configuration names, in the order of the network.
fn select(config: &LoraConfig, base: &DecoderConfig) -> Result<Chosen, AttachError> {
    let mut chosen = select_by_name(config, base)?;
    for name in &config.exclude {
        let is_named = |site: &Site| target_matches(name, &site.path());
        if !chosen.sites.iter().any(is_named) {
            return Err(AttachError::Unmatched {
                list: "the excluded modules",
                name: name.clone(),
            });
        }
        chosen.sites.retain(|site| !is_named(site));
    }
    if let Some(layers) = config.layers {
        let inside = |site: &Site| layers.contains(site.layer_index(base.num_layers));
        chosen.sites.retain(inside);
        if chosen.sites.is_empty() {
            return Err(AttachError::NoSuchLayer {
                layers,
                num_layers: base.num_layers,
            });
        }
    }
    if chosen.sites.is_empty() && !chosen.embedding {
        return Err(AttachError::BadNumber {
            name: "targets",
            value: "an empty list".into(),
            must: "`all-linear` or names of projections",
        });
    }
    Ok(chosen)
}

fn select_by_name(config: &LoraConfig, base: &DecoderConfig) -> Result<Chosen, AttachError> {
    let sites = base.sites();
    let names = match &config.targets {
        Targets::AllLinear => {
            let is_ia3 = config.ia3.is_some();
            let is_meant = |site: &Site| is_linear(*site, is_ia3);
            return Ok(Chosen {
                sites: sites.into_iter().filter(is_meant).collect(),
                embedding: false,
                is_doubled: base.experts.is_some(),
            });
        }
        Targets::Names(names) => names,
    };
    let (converted, is_doubled) = converted(names, base)?;
    let names = &converted;
    for name in names {
        let mut hits = sites
            .iter()
            .filter(|site| target_matches(name, &site.path()))
            .peekable();
        if hits.peek().is_none() && !target_matches(name, base.names.embedding.0) {
            return Err(unknown_target(name, &sites));
        }
        if base.tied_head && hits.any(|site| site.is_head()) {
            return Err(AttachError::TiedHead);
        }
    }
    let named = |path: &str| names.iter().any(|name| target_matches(name, path));
    Ok(Chosen {
        embedding: named(base.names.embedding.0),
        sites: sites.into_iter().filter(|s| named(&s.path())).collect(),
        is_doubled,
    })
}

/// Whether PEFT's `all-linear` means it. In a model with experts PEFT takes the names of an MLP's layers for the experts',
/// so that layers without experts are left out; IA³, which it does not convert, has them and no experts.
fn is_linear(site: Site, is_ia3: bool) -> bool {
    let is_dense = !matches!(
        site.group(),
        Group::Router | Group::ExpertsIn | Group::ExpertsOut
    );
    match (site.is_head(), site.place().is_parameter) {
        (true, _) => false,
        (_, false) => true,
        _ => is_dense == is_ia3,
    }
}

/// Names of an expert's own matrices, `w1` or `gate_proj`, as PEFT converts them: gate and up are one parameter, so they
/// are named together, and it gets the ranks and the alphas of both.
fn converted(names: &[String], base: &DecoderConfig) -> Result<(Vec<String>, bool), AttachError> {
    let mut all = names.to_vec();
    let Some(experts) = &base.names.experts else {
        return Ok((all, false));
    };
    let is_named = |part| names.iter().any(|name| name == experts.of(part).name);
    let is_known = |name: &str| base.sites().iter().any(|site| site.name() == name);
    let (gate, up) = (is_named(Part::Gate), is_named(Part::Up));
    let [gate_name, up_name, down_name] =
        [Part::Gate, Part::Up, Part::Down].map(|part| experts.of(part).name);
    if gate != up {
        let (first, second) = if gate {
            (gate_name, up_name)
        } else {
            (up_name, gate_name)
        };
        return Err(AttachError::Alone { first, second });
    }
    if gate && up {
        all.retain(|name| is_known(name) || name != gate_name && name != up_name);
        all.push("gate_up_proj".to_owned());
    }
    if is_named(Part::Down) && !is_known(down_name) {
        all.retain(|name| name != down_name);
        all.push("down_proj".to_owned());
    }
    Ok((all, gate && up))
}

/// Projections that are trained whole, and whether the embedding is. `layers.3` means all of a layer.
fn select_whole(names: &[String], base: &DecoderConfig) -> Result<(Vec<Site>, bool), AttachError> {
    let (sites, mut embedding) = (base.sites(), false);
    for name in names {
        let is_embedding = target_matches(name, base.names.embedding.0);
        let hits: Vec<&Site> = sites
            .iter()
            .filter(|s| is_inside(&s.path(), name))
            .collect();
        if hits.is_empty() && !is_embedding {
            return Err(unknown_target(name, &sites));
        }
        if base.tied_head && hits.contains(&&base.head()) {
            let module = name.clone();
            return Err(AttachError::TiedWhole { module });
        }
        embedding |= is_embedding;
    }
    let named = |site: &Site| names.iter().any(|name| is_inside(&site.path(), name));
    if sites
        .iter()
        .any(|site| named(site) && site.group().is_of_experts())
    {
        return Err(AttachError::Together {
            first: "modules trained whole",
            second: "experts",
        });
    }
    if base.names.is_transposed && sites.iter().any(|site| named(site) && !site.is_head()) {
        return Err(AttachError::Together {
            first: "modules trained whole",
            second: "a base whose matrices lie transposed",
        });
    }
    Ok((sites.into_iter().filter(named).collect(), embedding))
}

/// Whether `module` is a run of whole parts of `path`.
pub(super) fn is_inside(path: &str, module: &str) -> bool {
    format!(".{path}.").contains(&format!(".{module}."))
}

/// Rising, each once.
fn known_tokens(asked: &[u32], base: &DecoderConfig) -> Result<Vec<u32>, AttachError> {
    let mut ids = asked.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let vocab_size = base.vocab_size;
    match ids.iter().find(|&&id| id as usize >= vocab_size) {
        Some(&id) => Err(AttachError::NoSuchToken { id, vocab_size }),
        None => Ok(ids),
    }
}

fn biases(
    config: &LoraConfig,
    adapted: &[Site],
    base: &DecoderConfig,
) -> Result<Vec<Site>, AttachError> {
    let all = match config.bias {
        TrainedBias::None => return Ok(vec![]),
        // PEFT means the biases of norms too.
        TrainedBias::All if base.norm.has_bias() => {
            return Err(AttachError::Together {
                first: "all biases",
                second: "norms that have biases",
            });
        }
        TrainedBias::All => base.sites(),
        TrainedBias::Adapted => adapted.to_vec(),
    };
    let with_bias = all.into_iter().filter(|site| base.has_bias(site.group()));
    match with_bias.collect::<Vec<_>>() {
        none if none.is_empty() => Err(AttachError::NoBias),
        some => Ok(some),
    }
}

fn members(config: &LoraConfig, chosen: &Chosen) -> Result<Vec<Member>, AttachError> {
    let sites = &chosen.sites;
    let unmatched = |list, name: &str| {
        let is_used = sites.iter().any(|site| target_matches(name, &site.path()));
        (!is_used).then(|| AttachError::Unmatched {
            list,
            name: name.to_owned(),
        })
    };
    let ranks = config.rank_pattern.iter().map(|(name, _)| name);
    let alphas = config.alpha_pattern.iter().map(|(name, _)| name);
    let wrong = ranks
        .map(|name| unmatched("the ranks", name))
        .chain(alphas.map(|name| unmatched("the alphas", name)))
        .flatten()
        .next();
    if let Some(error) = wrong {
        return Err(error);
    }
    let member = |site: &Site| {
        let path = site.path();
        let times = match chosen.is_doubled && site.group() == Group::ExpertsIn {
            true => 2,
            false => 1,
        };
        Member {
            site: *site,
            rank: own(&config.rank_pattern, &path).unwrap_or(times * config.rank),
            alpha: own(&config.alpha_pattern, &path).unwrap_or(times as f32 * config.alpha),
        }
    };
    Ok(sites.iter().map(member).collect())
}

fn own<T: Copy>(patterns: &[(String, T)], path: &str) -> Option<T> {
    let mut patterns = patterns.iter();
    let found = patterns.find(|(name, _)| target_matches(name, path))?;
    Some(found.1)
}

fn factors(
    ia3: &Ia3,
    chosen: &Chosen,
    config: &LoraConfig,
) -> Result<Vec<(Site, bool)>, AttachError> {
    if chosen.embedding {
        return Err(AttachError::Together {
            first: "IA3",
            second: "a target `embed_tokens`",
        });
    }
    if !(config.rank_pattern.is_empty() && config.alpha_pattern.is_empty()) {
        return Err(AttachError::Together {
            first: "IA3",
            second: "ranks or alphas of single modules",
        });
    }
    let is_named = |name: &String, site: &Site| target_matches(name, &site.path());
    for name in &ia3.feed_forward {
        if !chosen.sites.iter().any(|site| is_named(name, site)) {
            return Err(AttachError::Unmatched {
                list: "the feed-forward modules",
                name: name.clone(),
            });
        }
    }
    let is_input = |site: &Site| ia3.feed_forward.iter().any(|name| is_named(name, site));
    let sites = chosen.sites.iter();
    Ok(sites.map(|site| (*site, is_input(site))).collect())
}

fn unknown_target(target: &str, sites: &[Site]) -> AttachError {
    let mut available: Vec<String> = sites.iter().map(|site| site.name().to_owned()).collect();
    available.sort();
    available.dedup();
    let wanted = target.rsplit('.').next().unwrap_or(target).to_lowercase();
    let distance = |name: &&String| edit_distance(&wanted, name);
    let near = available
        .iter()
        .min_by_key(distance)
        .filter(|name| edit_distance(&wanted, name) <= 3);
    AttachError::UnknownTarget {
        target: target.to_owned(),
        near: near.cloned(),
        available,
    }
}

/// Levenshtein, for did-you-mean.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
