//! All rows at once: twins, sides, leaks, choice, mixture.
//!
//! A table keeps a few numbers of each row; a row that is out is trained on zero times. Each stage looks only at rows that
//! the stage before has left.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::sync::Arc;

use hone_data::{FileReport, Inputs, Kind, Record, RowKey, Sets, Shares};
use hone_ledger::{ContentId, Seed};
use rayon::prelude::*;

use super::losses::{Labels, Loss, Lost};
use super::{CurateError, Curated, Kept, Noted, Tools, near_options, params_of, wrong};
use crate::duplicates::beside::beside;
use crate::duplicates::replies::ReplyOptions;
use crate::duplicates::semantic::{Embeddings, SemanticOptions};
use crate::duplicates::{Cluster, Fingerprint, exact, near, prompts, replies, semantic};
use crate::leaks::{self, Index, Leak, LeakOptions, prompt};
use crate::mix::{self, Ingredient, Portion, mix};
use crate::recipe::{Curation, RecipeError, Ruled, Side};
use crate::replaced::Replaced;
use crate::select::{self, Candidate, Passed, features, select};
use crate::tally::Tally;
use crate::{Action, Against, Decision, Examiner, Finding, RowCount, Rows, RowsError, Spool};

/// What is kept in memory of each row.
pub(super) struct Fact {
    pub(super) task: Arc<str>,
    pub(super) group: Option<Box<str>>,
    pub(super) origin: Arc<str>,
    pub(super) length: usize,
    pub(super) language: &'static str,
    /// Did a rule about quality see something in it?
    pub(super) is_remarked: bool,
    /// How often it stands in the data as read.
    pub(super) copies: usize,
    /// The side it was read from, where that is settled.
    pub(super) pinned: Option<Side>,
    /// Was it settled by the files that it came with, and can be drawn anew?
    pub(super) is_of_split: bool,
    /// What it is for.
    pub(super) kind: Kind,
    /// Was its text changed?
    pub(super) is_changed: bool,
    /// Its last reply, where it may be a label.
    pub(super) label: Option<Box<str>>,
    /// The id of what it says.
    pub(super) content: ContentId,
    /// A hash of what its system turns say, where that is as long as a passage.
    pub(super) context: Option<NonZeroU64>,
}

/// All rows, and which of them are still in.
pub(super) struct Table {
    pub(super) spool: Spool,
    pub(super) facts: Vec<Fact>,
    /// What duplicates are told by, of the rows that are in; empty once they have been.
    pub(super) prints: Vec<Fingerprint>,
    /// Rows of a test side that stays unread, which leaks are looked for from.
    pub(super) unread: Vec<Record>,
    /// Rows of benchmarks, likewise.
    pub(super) benchmark: Vec<Record>,
    /// How often each row is trained on; 0 once it is out.
    pub(super) copies: Vec<usize>,
    pub(super) sides: Vec<Side>,
    /// Rows that must stand on one side.
    pub(super) links: Vec<(usize, usize)>,
    pub(super) files: Vec<FileReport>,
    pub(super) inputs: Inputs,
    pub(super) benchmarks: Vec<FileReport>,
    pub(super) rows_in: usize,
    pub(super) count: RowCount,
    pub(super) rows_changed: usize,
    pub(super) origins: BTreeMap<String, usize>,
    /// Rows in whose language no names of persons are looked for, by its code.
    pub(super) unnamed: BTreeMap<&'static str, usize>,
    pub(super) labels: Labels,
    /// What the rules have left out of each collection and each class.
    pub(super) lost: Lost,
    /// What was replaced and must stand nowhere.
    pub(super) replaced: Replaced,
    pub(super) clusters: Vec<(usize, usize)>,
    pub(super) portions: Vec<Portion>,
}

impl Table {
    /// Leaves out all but one of rows that say the same, and ties together what must stand on one side.
    pub(super) fn leave_out_twins(
        &mut self,
        curation: &Curation,
        tools: Tools<'_>,
        noted: &mut Noted<'_>,
    ) -> Result<(), CurateError> {
        const STAGES: u64 = 5;
        let told = |stage| (tools.watch)("looking for duplicates", stage, STAGES);
        let shown = Examiner::new(&curation.rules, None);
        told(0);
        if let Some(rule) = curation.rule(exact::DOC.name) {
            let clusters = exact::clusters(&self.prints);
            self.settle(rule, &clusters, &shown, noted)?;
            self.tie(&clusters);
        }
        told(1);
        if let Some(rule) = curation.rule(near::DOC.name) {
            let clusters = near::clusters(&self.prints, &self.spool, &near_options(curation)?)?;
            self.settle(rule, &clusters, &shown, noted)?;
            self.tie(&clusters);
            self.clusters = largest(&clusters);
        }
        told(2);
        if let Some(rule) = curation.rule(prompts::DOC.name) {
            let clusters = prompts::clusters(&self.prints);
            self.settle(rule, &clusters, &shown, noted)?;
            self.tie(&clusters);
        }
        if curation.rule(prompt::DOC.name).is_some() {
            self.tie_prompts();
        }
        told(3);
        if let Some(rule) = curation.rule(replies::DOC.name) {
            let options = ReplyOptions::take(&mut params_of(rule));
            let options = options.map_err(|source| wrong(rule, source))?;
            // Rows with one answer are as many as a task has; they need not stand on one side.
            let clusters = replies::clusters(&self.prints, &options);
            self.settle(rule, &clusters, &shown, noted)?;
        }
        told(4);
        if let Some(rule) = curation.rule(semantic::DOC.name) {
            let options = SemanticOptions::take(&mut params_of(rule));
            if let Some(options) = options.map_err(|source| wrong(rule, source))? {
                let table = Embeddings::load(&options.embeddings, &options.tokenizer)?;
                let clusters = semantic::clusters(&self.prints, &self.spool, &table, &options)?;
                self.settle(rule, &clusters, &shown, noted)?;
                self.tie(&clusters);
            }
        }
        told(STAGES);
        self.prints = Vec::new();
        Ok(())
    }

    /// Has the rows of each cluster stand on one side.
    fn tie(&mut self, clusters: &[Cluster]) {
        for cluster in clusters {
            let others = cluster.rows.iter().filter(|&&row| row != cluster.keep);
            self.links.extend(others.map(|&row| (cluster.keep, row)));
        }
    }

    /// Has rows stand on one side of which one answers a prompt that the other has too: `prompt-exact` would find them on two.
    fn tie_prompts(&mut self) {
        let last = |print: &Fingerprint| Some((print.last_asked?, print.row));
        let ends: HashMap<u64, usize> = self.prints.iter().filter_map(last).collect();
        let shared = self.prints.iter().flat_map(|print| {
            let asked = print.asked_before.iter().chain(&print.last_asked);
            let found = asked.filter_map(|id| ends.get(id));
            found.map(|&other| (print.row, other))
        });
        self.links
            .extend(shared.filter(|(row, other)| row != other));
    }

    /// Does to each row of a cluster but the kept one what the recipe says. Evaluation rows that the user brought stay
    /// whatever they repeat: a test set does not shrink.
    fn settle(
        &mut self,
        rule: &Ruled,
        clusters: &[Cluster],
        shown: &Examiner<'_>,
        noted: &mut Noted<'_>,
    ) -> Result<(), CurateError> {
        for cluster in clusters {
            let kept = format!("{} is kept", self.spool.source(cluster.keep));
            // Rows that share half of what they say repeat no other row.
            let repeats = [exact::DOC.name, near::DOC.name, semantic::DOC.name];
            let against = self
                .evaluates(cluster.keep)
                .filter(|_| repeats.contains(&rule.doc.name));
            for &row in cluster.rows.iter().filter(|&&row| row != cluster.keep) {
                let mut finding = Finding {
                    other: Some(kept.clone()),
                    score: similarity(cluster, row) as f32,
                    against,
                    ..self.finding(rule, row, rule.doc.summary)
                };
                if let Some(against) = against {
                    finding.message = format!("repeats a {}", against.name().trim_end_matches(','));
                }
                if self.evaluates(row).is_some() {
                    finding.side = self.facts[row].pinned;
                    finding.against = None;
                    finding.message = format!("{}; evaluation rows stay", rule.doc.summary);
                    finding.other = Some(self.spool.source(cluster.keep).to_string());
                    finding.decision = match finding.decision {
                        Decision::Dropped | Decision::Undecided => Decision::Reported,
                        decision => decision,
                    };
                }
                let differs = rule.doc.name != exact::DOC.name;
                if differs && is_told_whole(rule, &finding, noted) {
                    let (this, kept) = (self.spool.record(row)?, self.spool.record(cluster.keep)?);
                    finding.beside = beside(&this, &kept, |text| shown.shown_whole(text));
                }
                if finding.decision == Decision::Dropped {
                    self.leave_out(row, &finding);
                }
                noted.note_of(row, &finding)?;
            }
        }
        let copies = &self.copies;
        self.prints.retain(|print| copies[print.row] > 0);
        Ok(())
    }

    /// What a row is for, if its file is there to evaluate by.
    fn evaluates(&self, row: usize) -> Option<Against> {
        let fact = &self.facts[row];
        match fact.pinned {
            Some(Side::Test) => Some(Against::Test),
            Some(Side::Valid) if fact.is_of_split => Some(Against::Split),
            Some(Side::Valid) => Some(Against::Validation),
            Some(Side::Train) | None => None,
        }
    }

    /// Gives every row its side: the one it was read from, or its share by content and seed. Rows stand on one side
    /// that any rule would find on two, and rows that belong to one whose side is settled are trained on.
    pub(super) fn take_sides(
        &mut self,
        curation: &Curation,
        tools: Tools<'_>,
    ) -> Result<(), CurateError> {
        let shares = Shares {
            valid: curation.valid,
            test: curation.test,
        };
        let is_split = shares.valid > 0.0 || shares.test > 0.0;
        let open = self.to_train_on();
        let has_loose = open.iter().any(|&row| self.facts[row].pinned.is_none());
        if is_split && has_loose {
            (tools.watch)("grouping rows for the split", 0, 1);
            self.tie_related(&open, curation)?;
            (tools.watch)("grouping rows for the split", 1, 1);
        }
        let settled = self.beside_settled_rows();
        let loose: Vec<usize> = open
            .into_iter()
            .filter(|&row| self.facts[row].pinned.is_none() && !settled[row])
            .collect();
        let at: HashMap<usize, usize> = loose
            .iter()
            .enumerate()
            .map(|(at, &row)| (row, at))
            .collect();
        let links: Vec<(usize, usize)> = self
            .links
            .iter()
            .filter_map(|(a, b)| Some((*at.get(a)?, *at.get(b)?)))
            .collect();
        let keys: Vec<RowKey<'_>> = loose.iter().map(|&row| self.facts[row].key()).collect();
        let sides = hone_data::sides(
            &keys,
            &links,
            shares,
            Seed::new(curation.seed).child("split"),
        );
        let sides = sides.map_err(|error| RecipeError::OutOfRange {
            name: "split",
            value: error.share,
            wanted: "shares must leave rows to train on",
        })?;
        for (row, fact) in self.facts.iter().enumerate() {
            self.sides[row] = fact.pinned.unwrap_or(Side::Train);
        }
        loose
            .iter()
            .zip(sides)
            .for_each(|(&row, side)| self.sides[row] = side);
        Ok(())
    }

    /// Rows that are still in and that no file holds out.
    fn to_train_on(&self) -> Vec<usize> {
        self.alive()
            .filter(|&row| self.evaluates(row).is_none())
            .collect()
    }

    /// Has rows stand on one side that a rule about leaks would find on two.
    fn tie_related(&mut self, rows: &[usize], curation: &Curation) -> Result<(), CurateError> {
        let options = leak_options(curation)?;
        if options.is_none() {
            return Ok(());
        }
        let chosen = Chosen {
            spool: &self.spool,
            rows,
        };
        // A word of English takes five bytes or six; a few too many do no harm.
        let bytes = rows
            .iter()
            .map(|&row| self.spool.span(row))
            .map(|span| span.end - span.start);
        let words = bytes.sum::<u64>() / 5;
        let related = leaks::related(&options, &chosen, words as usize)?;
        self.links
            .extend(related.into_iter().map(|(a, b)| (rows[a], rows[b])));
        self.tie_contexts(rows);
        Ok(())
    }

    /// Rows that ask about one passage in their system turns belong together; what more rows have is an instruction.
    fn tie_contexts(&mut self, rows: &[usize]) {
        const FEW: usize = 20;
        let mut by_context: HashMap<NonZeroU64, Vec<usize>> = HashMap::new();
        for &row in rows {
            if let Some(context) = self.facts[row].context {
                by_context.entry(context).or_default().push(row);
            }
        }
        let few = by_context.into_values().filter(|rows| rows.len() <= FEW);
        let mut few: Vec<Vec<usize>> = few.collect();
        // In the order of rows, so that nothing depends on the map.
        few.sort_unstable();
        for rows in few {
            let pairs = rows.windows(2).map(|pair| (pair[0], pair[1]));
            self.links.extend(pairs);
        }
    }

    /// Rows without a side that belong to one that has a side.
    fn beside_settled_rows(&self) -> Vec<bool> {
        let mut sets = Sets::new(self.facts.len());
        let (mut by_content, mut by_group) = (HashMap::new(), HashMap::new());
        for row in self.alive() {
            let fact = &self.facts[row];
            sets.join(row, *by_content.entry(fact.content).or_insert(row));
            if let Some(group) = &fact.group {
                sets.join(row, *by_group.entry(group).or_insert(row));
            }
        }
        for &(a, b) in &self.links {
            sets.join(a, b);
        }
        let mut is_settled = vec![false; self.facts.len()];
        for row in self.alive().filter(|&row| self.facts[row].pinned.is_some()) {
            is_settled[sets.root(row)] = true;
        }
        let belongs = |row| is_settled[sets.root(row)];
        (0..self.facts.len()).map(belongs).collect()
    }

    /// Finds evaluation rows among the rows that no file holds out, before any of them is: a row that falls to the
    /// validation share answers a benchmark as well as one that is trained on.
    ///
    /// Benchmarks are looked for by every rule under its action. Held-out rows of the tasks that are trained on share
    /// the form of the task with them, and with it whole n-grams: of those n-grams are reported rather than asked about.
    pub(super) fn leave_out_leaks(
        &mut self,
        curation: &Curation,
        tools: Tools<'_>,
        noted: &mut Noted<'_>,
    ) -> Result<(), CurateError> {
        const STAGES: u64 = 3;
        let told = |stage| (tools.watch)("looking for leaks", stage, STAGES);
        let options = leak_options(curation)?;
        told(0);
        let of = |against| move |record: Record| (record, against);
        let benchmark = std::mem::take(&mut self.benchmark).into_iter();
        let benchmark: Vec<_> = benchmark.map(of(Against::Benchmark)).collect();
        if options.is_none() && !benchmark.is_empty() {
            let (what, rule) = ("compare rows with benchmarks", "leak");
            let off = CurateError::Contradiction { what, rule };
            return Err(off.at(curation, &["rules", rule]));
        }
        self.leave_out_leaks_of(&benchmark, &options, curation, noted)?;
        told(1);
        let unread = std::mem::take(&mut self.unread).into_iter();
        let unread: Vec<_> = unread.map(of(Against::Test)).collect();
        self.leave_out_leaks_of(&unread, &options, curation, noted)?;
        told(2);
        let brought = self.evaluation_rows()?;
        self.leave_out_leaks_of(&brought, &options, curation, noted)?;
        told(STAGES);
        Ok(())
    }

    fn leave_out_leaks_of(
        &mut self,
        evaluation: &[(Record, Against)],
        options: &LeakOptions,
        curation: &Curation,
        noted: &mut Noted<'_>,
    ) -> Result<(), CurateError> {
        if evaluation.is_empty() || options.is_none() {
            return Ok(());
        }
        let train = self.to_train_on();
        let index = Index::new(options, &Records(evaluation))?;
        let shown = Examiner::new(&curation.rules, None);
        let rows = Chosen {
            spool: &self.spool,
            rows: &train,
        };
        for leak in leaks::find(&index, &rows)? {
            let row = train[leak.row];
            let rule = curation
                .rule(leak.rule)
                .expect("only rules that are asked find something");
            let (record, against) = &evaluation[leak.evaluation];
            let mut finding = self.leak(rule, row, &leak, record, &shown)?;
            finding.against = Some(*against);
            let source = finding.other.unwrap_or_default();
            finding.other = Some(format!("{} {source}", against.name()));
            let by_ngrams = leaks::counts_ngrams(leak.rule);
            let shares_the_form = *against != Against::Benchmark;
            if shares_the_form && by_ngrams && finding.decision == Decision::Undecided {
                finding.decision = Decision::Reported;
            }
            if is_told_whole(rule, &finding, noted) {
                let this = self.spool.record(row)?;
                finding.beside = beside(&this, record, |text| shown.shown_whole(text));
            }
            if finding.decision == Decision::Dropped {
                self.leave_out(row, &finding);
            }
            noted.note_of(row, &finding)?;
        }
        Ok(())
    }

    /// A row leaves; the first finding that says so counts.
    fn leave_out(&mut self, row: usize, finding: &Finding) {
        if std::mem::replace(&mut self.copies[row], 0) > 0 {
            let fact = &self.facts[row];
            self.lost.add(&fact.origin, fact.label.as_deref(), finding);
        }
    }

    /// Replaces in all rows what was found and replaced in one of them.
    pub(super) fn replace_elsewhere(&mut self, noted: &mut Noted<'_>) -> Result<(), CurateError> {
        if self.replaced.is_empty() {
            return Ok(());
        }
        let index = self.replaced.index();
        let rows: Vec<usize> = (0..self.facts.len()).collect();
        let spool = &self.spool;
        let without = |&row: &usize| -> Option<_> {
            let may_have = spool.line(row).map_or(true, |line| index.may_be_in(&line));
            let record = may_have.then(|| spool.record(row));
            match record? {
                Ok(record) => index
                    .without(&record)
                    .map(|(record, rules)| Ok((row, record, rules))),
                Err(error) => Some(Err(error)),
            }
        };
        let changed: Vec<_> = rows
            .par_iter()
            .filter_map(without)
            .collect::<Result<_, RowsError>>()?;
        for (row, record, rules) in changed {
            for doc in rules {
                let said = "what was found in another row stands here, too";
                let source = self.spool.source(row);
                let mut finding =
                    Finding::of_row(doc.name, doc.family, Decision::Changed, &source, said);
                finding.side = self.facts[row].pinned.filter(|&side| side != Side::Train);
                noted.note_of(row, &finding)?;
            }
            self.rows_changed += usize::from(!self.facts[row].is_changed);
            self.spool.change(row, record);
        }
        Ok(())
    }

    /// Rows of files that are there to evaluate by.
    fn evaluation_rows(&self) -> Result<Vec<(Record, Against)>, CurateError> {
        let rows = self
            .alive()
            .filter_map(|row| Some((row, self.evaluates(row)?)));
        let records =
            rows.map(|(row, against)| Ok((self.spool.record(row)?.into_owned(), against)));
        Ok(records.collect::<Result<_, RowsError>>()?)
    }

    /// What the rules have left of each collection and each class.
    pub(super) fn losses(&mut self, curation: &Curation) -> Vec<Loss> {
        let mut left: BTreeMap<&str, usize> = BTreeMap::new();
        for row in self.alive() {
            *left.entry(&self.facts[row].origin).or_default() += 1;
        }
        let loss = |(name, &before): (&String, &usize)| Loss {
            of: "collection",
            name: name.clone(),
            before,
            after: left.get(name.as_str()).copied().unwrap_or(0),
            undecided: Vec::new(),
        };
        let labels = self
            .alive()
            .filter_map(|row| self.facts[row].label.as_deref());
        let labels = self.labels.losses(labels);
        let mut losses: Vec<Loss> = self.origins.iter().map(loss).chain(labels).collect();
        std::mem::take(&mut self.lost).tell(&mut losses, curation);
        let shown = Examiner::new(&curation.rules, None);
        for loss in &mut losses {
            loss.name = shown.shown_whole(&loss.name);
        }
        losses
    }

    fn leak(
        &self,
        rule: &Ruled,
        row: usize,
        leak: &Leak,
        evaluation: &Record,
        shown: &Examiner<'_>,
    ) -> Result<Finding, CurateError> {
        let record = self.spool.record(row)?;
        let text = record.text(leak.place).unwrap_or("");
        let more = match leak.others {
            0 => String::new(),
            others => format!(", and {others} more"),
        };
        Ok(Finding {
            place: Some(leak.place.to_string()),
            span: Some([leak.span.start, leak.span.end]),
            evidence: shown.shown(text, leak.span.clone()),
            score: leak.coverage as f32,
            other: Some(format!("{}{more}", evaluation.source)),
            ..self.finding(
                rule,
                row,
                &format!("shares {:.0} % of an evaluation row", 100.0 * leak.coverage),
            )
        })
    }

    /// Rows of a side that are still in.
    fn on(&self, side: Side) -> Vec<usize> {
        self.alive()
            .filter(|&row| self.sides[row] == side)
            .collect()
    }

    /// Keeps the rows to learn from that are worth most and unlike each other, if the recipe asks for fewer.
    pub(super) fn choose(
        &mut self,
        curation: &Curation,
        tools: Tools<'_>,
        noted: &mut Noted<'_>,
    ) -> Result<(), CurateError> {
        let Some(wanted) = &curation.select else {
            return Ok(());
        };
        let rule = active(curation, select::DOC.name, "choose rows")?;
        let train = self.on(Side::Train);
        let candidates = self.candidates(&train, tools)?;
        let selection = select(
            &candidates,
            wanted.rows,
            wanted.by.unwrap_or_default(),
            wanted.max_similarity.unwrap_or(0.9),
        );
        for (at, why) in selection.passed {
            let row = train[at];
            let mut finding = self.finding(rule, row, "not chosen: there was no room for it");
            finding.decision = Decision::Dropped;
            finding.score = candidates[at].quality as f32;
            if let Passed::Like(other, cosine) = why {
                finding.message =
                    format!("not chosen: it is like a chosen row (cosine {cosine:.2})");
                finding.other = Some(self.spool.source(train[other]).to_string());
            }
            self.copies[row] = 0;
            noted.note_of(row, &finding)?;
        }
        Ok(())
    }

    fn candidates(&self, rows: &[usize], tools: Tools<'_>) -> Result<Vec<Candidate>, CurateError> {
        let judge = tools.worth.ok_or(CurateError::NoJudge)?;
        let mut candidates = Vec::with_capacity(rows.len());
        for some in rows.chunks(JUDGED_AT_ONCE) {
            let records = some
                .iter()
                .map(|&row| self.spool.record(row).map(Cow::into_owned));
            let records: Vec<Record> = records.collect::<Result<_, _>>()?;
            let worth = judge(&records).map_err(|what| CurateError::Worth { what })?;
            let features: Vec<Vec<f32>> = records
                .par_iter()
                .map(|record| features(&said(record)))
                .collect();
            let found = some.iter().zip(worth).zip(features);
            candidates.extend(found.map(|((&row, quality), features)| Candidate {
                id: self.facts[row].content,
                quality,
                features,
            }));
            (tools.watch)("judging rows", candidates.len() as u64, rows.len() as u64);
        }
        Ok(candidates)
    }

    /// Repeats and leaves out rows to learn from until each collection has its weight.
    pub(super) fn weigh(
        &mut self,
        curation: &Curation,
        noted: &mut Noted<'_>,
    ) -> Result<(), CurateError> {
        let Some(wanted) = &curation.mix else {
            return Ok(());
        };
        let rule = active(curation, mix::DOC.name, "mix collections")?;
        let train = self.on(Side::Train);
        let ingredient = |&row: &usize| {
            let fact = &self.facts[row];
            Ingredient {
                origin: fact.origin.to_string(),
                id: fact.content,
                tokens: fact.length,
                copies: fact.copies,
            }
        };
        let ingredients: Vec<Ingredient> = train.iter().map(ingredient).collect();
        let mixed = mix(&ingredients, wanted, Seed::new(curation.seed).child("mix"));
        let (copies, portions) = mixed.map_err(|error| {
            let key: Vec<String> = error.key().into_iter().map(str::to_owned).collect();
            let key: Vec<&str> = key.iter().map(String::as_str).collect();
            CurateError::from(error).at(curation, &key)
        })?;
        self.portions = portions;
        let shown = Examiner::new(&curation.rules, None);
        for (&row, copies) in train.iter().zip(copies) {
            self.copies[row] = copies;
            if copies == 0 {
                let origin = shown.shown_whole(&self.facts[row].origin);
                let message = format!("the mixture takes fewer rows of {origin}");
                let mut finding = self.finding(rule, row, &message);
                finding.decision = Decision::Dropped;
                noted.note_of(row, &finding)?;
            }
        }
        Ok(())
    }

    /// Leaves out of the held-out rows that were drawn here what a choice or a mixture has made a leak: with the rows that are
    /// not trained on leaves what told that many rows share a template.
    pub(super) fn keep_sides_apart(
        &mut self,
        curation: &Curation,
        noted: &mut Noted<'_>,
    ) -> Result<(), CurateError> {
        let options = leak_options(curation)?;
        let is_fewer = curation.select.is_some() || curation.mix.is_some();
        if !is_fewer || options.is_none() {
            return Ok(());
        }
        let shown = Examiner::new(&curation.rules, None);
        // Each round names of the held-out rows that a row repeats the one with the most in common.
        for _ in 0..ROUNDS {
            let train = self.on(Side::Train);
            let held_out: Vec<usize> = self
                .alive()
                .filter(|&row| self.sides[row] != Side::Train)
                .collect();
            let record = |&row: &usize| Ok((self.spool.record(row)?.into_owned(), Against::Split));
            let records = held_out.iter().map(record);
            let records: Vec<_> = records.collect::<Result<_, RowsError>>()?;
            if records.is_empty() {
                return Ok(());
            }
            let index = Index::new(&options, &Records(&records))?;
            let rows = Chosen {
                spool: &self.spool,
                rows: &train,
            };
            let mut found = Vec::new();
            for leak in leaks::find(&index, &rows)? {
                let row = held_out[leak.evaluation];
                if self.facts[row].pinned.is_some() || self.copies[row] == 0 {
                    continue;
                }
                let rule = curation
                    .rule(leak.rule)
                    .expect("only rules that are asked find something");
                let other = self.spool.record(train[leak.row])?;
                let said = "after the choice it shares with a row to train on what was a template before; it is not held out";
                let mut finding = self.finding(rule, row, said);
                finding.decision = Decision::Dropped;
                finding.other = Some(other.source.to_string());
                finding.beside = beside(&records[leak.evaluation].0, &other, |text| {
                    shown.shown_whole(text)
                });
                self.copies[row] = 0;
                found.push(finding);
            }
            if found.is_empty() {
                return Ok(());
            }
            for finding in &found {
                noted.note(finding)?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self, tally: Tally, losses: Vec<Loss>) -> Curated {
        let kept = |row: usize| Kept {
            row,
            side: self.sides[row],
            copies: self.copies[row],
            length: self.facts[row].length,
            language: self.facts[row].language,
            is_remarked: self.facts[row].is_remarked,
            kind: self.facts[row].kind,
        };
        let kept = self.alive().map(kept).collect();
        Curated {
            kept,
            origin_of: self.facts.into_iter().map(|fact| fact.origin).collect(),
            spool: self.spool,
            tally,
            files: self.files,
            inputs: self.inputs,
            benchmarks: self.benchmarks,
            rows_in: self.rows_in,
            count: self.count,
            rows_changed: self.rows_changed,
            origins: self.origins,
            unnamed: self.unnamed,
            losses,
            replaced: self.replaced,
            clusters: self.clusters,
            portions: self.portions,
        }
    }

    /// Rows that are still in.
    fn alive(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.facts.len()).filter(|&row| self.copies[row] > 0)
    }

    /// A finding about a row under the action of a rule.
    fn finding(&self, rule: &Ruled, row: usize, message: &str) -> Finding {
        let decision = match rule.action {
            Action::Drop => Decision::Dropped,
            Action::Allow => Decision::Allowed,
            Action::Report => Decision::Reported,
            _ => Decision::Undecided,
        };
        let finding = Finding::of_row(
            rule.doc.name,
            rule.doc.family,
            decision,
            &self.spool.source(row),
            message,
        );
        Finding {
            reason: rule
                .reason
                .clone()
                .filter(|_| decision == Decision::Allowed),
            ..finding
        }
    }
}

/// Does a finding have both rows beside each other? What leaves does, and what is shown of the rest.
fn is_told_whole(rule: &Ruled, finding: &Finding, noted: &Noted<'_>) -> bool {
    let leaves = finding.decision == Decision::Dropped || rule.doc.name == near::DOC.name;
    leaves || noted.shows(finding)
}

/// Rounds in which held-out rows are looked for that a choice has made leaks.
const ROUNDS: usize = 64;

/// Rows that the judge is given at a time.
const JUDGED_AT_ONCE: usize = 256;

impl Fact {
    fn key(&self) -> RowKey<'_> {
        RowKey {
            task: &self.task,
            group: self.group.as_deref(),
            content: self.content,
        }
    }
}

/// All that a record says.
fn said(record: &Record) -> String {
    record
        .parts()
        .map(|part| part.text)
        .collect::<Vec<_>>()
        .join("\n")
}

fn leak_options(curation: &Curation) -> Result<LeakOptions, CurateError> {
    let mut options = LeakOptions::none();
    for rule in curation
        .rules
        .iter()
        .filter(|rule| rule.action != Action::Off)
    {
        options
            .add(rule.doc.name, &mut params_of(rule))
            .map_err(|source| wrong(rule, source))?;
    }
    Ok(options)
}

fn active<'a>(
    curation: &'a Curation,
    rule: &'static str,
    what: &'static str,
) -> Result<&'a Ruled, CurateError> {
    curation
        .rule(rule)
        .ok_or_else(|| CurateError::Contradiction { what, rule }.at(curation, &["rules", rule]))
}

/// Rows and kept row of the largest clusters, for the report.
fn largest(clusters: &[Cluster]) -> Vec<(usize, usize)> {
    let size = |cluster: &Cluster| (cluster.rows.len(), cluster.keep);
    let mut largest: Vec<(usize, usize)> = clusters.iter().map(size).collect();
    largest.sort_by_key(|&(rows, keep)| (Reverse(rows), keep));
    largest.truncate(10);
    largest
}

fn similarity(cluster: &Cluster, row: usize) -> f64 {
    let links = cluster
        .links
        .iter()
        .filter(|link| link.a == row || link.b == row);
    links.map(|link| link.similarity).fold(0.0, f64::max)
}

/// Evaluation rows, each with what it is.
struct Records<'a>(&'a [(Record, Against)]);

impl Rows for Records<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn record(&self, row: usize) -> Result<Cow<'_, Record>, RowsError> {
        Ok(Cow::Borrowed(&self.0[row].0))
    }
}

/// Some rows of a spool, numbered from 0.
struct Chosen<'a> {
    spool: &'a Spool,
    rows: &'a [usize],
}

impl Rows for Chosen<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn record(&self, row: usize) -> Result<Cow<'_, Record>, RowsError> {
        self.spool.record(self.rows[row])
    }
}
