//! What was seen, in the order in which it is decided, and what decides it.
//!
//! Findings of one kind stand together: what waits for a decision first. With each kind stand the commands and the
//! lines of a recipe that decide it, of which every one can be taken as it is. The terminal, JSON and the report say
//! what is said here, in these words.

use hone_ledger::words::for_shell;
use serde::Serialize;

use crate::recipe::{Curation, Ruled};
use crate::tally::{Kind, Tally};
use crate::{Action, Decision, Family, Finding, Loss, rules};

/// The command that made findings, so that it can be offered with an option more.
#[derive(Clone, Debug, Default)]
pub struct Again {
    /// Program, verb and options, with another directory to write to.
    pub words: Vec<String>,
    /// The same with the directory that was given, for where nothing was written.
    pub same: Vec<String>,
    /// What has to stay behind all options.
    pub operands: Vec<String>,
}

impl Again {
    /// The command with one more option, which is written as for a shell.
    pub fn with(&self, option: &str) -> String {
        self.joined(&self.words, option)
    }

    /// The same, writing to the directory that was given.
    pub fn same_with(&self, option: &str) -> String {
        self.joined(&self.same, option)
    }

    fn joined(&self, words: &[String], option: &str) -> String {
        let words = words.iter().map(|word| for_shell(word));
        let operands = self.operands.iter().map(|word| for_shell(word));
        let all = words.chain([option.to_owned()]).chain(operands);
        all.collect::<Vec<_>>().join(" ")
    }
}

/// One way to decide about what a rule saw.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Way {
    /// What becomes of the rows.
    pub does: String,
    /// The option, as for a shell.
    pub option: String,
    /// The whole command.
    pub command: String,
    /// The section of a recipe.
    pub section: &'static str,
    /// The line under it.
    pub recipe: String,
}

/// Findings of one kind, as they are told.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// The rule.
    pub rule: String,
    /// Its family.
    pub family: Family,
    /// What became of the rows.
    pub decision: Decision,
    /// How many findings there are.
    pub count: usize,
    /// Rule, family and count in a line.
    pub heading: String,
    /// What the rule sees, as a sentence without a full stop.
    pub summary: &'static str,
    /// Some of the findings.
    pub examples: Vec<Example>,
    /// Where the others are; empty where there are none.
    pub more: String,
    /// What the ways do, in a line that ends in a colon; where there are none, why.
    pub asks: String,
    /// What decides them otherwise.
    pub ways: Vec<Way>,
}

/// A finding with the lines in which it is told.
#[derive(Clone, Debug, Serialize)]
pub struct Example {
    /// Where and what.
    pub line: String,
    /// What stands there, and beside it.
    pub beside: Vec<String>,
}

impl Example {
    fn of(finding: &Finding) -> Self {
        let mut beside = Vec::new();
        if !finding.around.is_empty() {
            beside.push(format!("there:  {}", finding.around));
        }
        if let Some(both) = &finding.beside {
            let (this, kept) = match (finding.against, finding.decision) {
                (_, Decision::Dropped) => ("leaves:", "stays: "),
                (Some(_), _) => ("row:   ", "other: "),
                (None, _) => ("row:   ", "like:  "),
            };
            beside.push(format!("{this} {}", both.this));
            beside.push(format!("{kept} {}", both.kept));
        }
        Self {
            line: finding.to_string(),
            beside,
        }
    }
}

impl Told {
    /// What is read on a terminal.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.heading.clone()];
        for example in &self.examples {
            lines.push(format!("  {}", example.line));
            lines.extend(example.beside.iter().map(|line| format!("    {line}")));
        }
        if !self.more.is_empty() {
            lines.push(format!("  {}", self.more));
        }
        lines.push(format!("  {}", self.asks));
        for way in &self.ways {
            lines.push(format!("    {}: {}", way.does, way.command));
            lines.push(format!("      {}: {}", way.section, way.recipe));
        }
        lines.push(format!("  {}hone data rules {}", WHY, self.rule));
        lines
    }
}

/// What stands before the page of a rule.
pub const WHY: &str = "why it matters: ";

/// Everything that was seen, kind by kind, the undecided first; `rest` says where the findings are that are not shown.
pub fn told(tally: &Tally, curation: &Curation, again: &Again, rest: &str) -> Vec<Told> {
    let kinds = tally.kinds();
    let told = |(kind, count, examples): (&Kind, usize, &[Finding])| {
        let ruled = curation.rules.iter();
        let ruled = ruled.clone().find(|ruled| ruled.doc.name == kind.rule)?;
        let ways = ways(kind, ruled, curation, again);
        let more = match count - examples.len() {
            0 => String::new(),
            more => format!("… and {more} more; {rest}"),
        };
        Some(Told {
            rule: kind.rule.clone(),
            family: kind.family,
            decision: kind.decision,
            count,
            heading: heading(kind, count),
            summary: ruled.doc.summary,
            examples: examples.iter().map(Example::of).collect(),
            more,
            asks: asks(kind, ruled, !ways.is_empty()),
            ways,
        })
    };
    kinds.into_iter().filter_map(told).collect()
}

fn heading(kind: &Kind, count: usize) -> String {
    let which = match kind {
        kind if kind.leaves => ", in rows that leave for another reason",
        kind if kind.is_of_split => ", between the sides of your split",
        kind if kind.is_to_evaluate => ", in rows to evaluate by",
        kind if kind.is_open() && !kind.has_text && may_replace(&kind.rule) => {
            ", about rows as a whole"
        }
        _ => "",
    };
    let what = word(kind.decision);
    format!("{} ({}): {count} {what}{which}", kind.rule, kind.family)
}

/// What a decision is called.
pub fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Reported => "reported",
        Decision::Undecided => "undecided",
        Decision::Allowed => "allowed",
        Decision::Changed => "changed",
        Decision::Dropped => "dropped",
    }
}

fn asks(kind: &Kind, ruled: &Ruled, has_ways: bool) -> String {
    let said = match (kind.is_open(), has_ways) {
        _ if kind.leaves => "nothing waits for a decision: the rows leave",
        (true, _) => "training waits for a decision; one of these:",
        (false, true) => "to decide otherwise:",
        (false, false) => match ruled.doc.name {
            "not-chosen" => "[select] of the recipe decides how many rows are chosen",
            "mixed-out" => "[mix] of the recipe decides how many rows of each collection there are",
            // Which template and which base rows are shown to is no matter of a rule.
            "unusable-row" => {
                "mend the row in its file; where the chat template is at fault, --chat-template takes another one"
            }
            _ => "no option changes it: mend the row in its file",
        },
    };
    said.to_owned()
}

fn may_replace(rule: &str) -> bool {
    rules::named(rule).is_some_and(|entry| entry.takes(Action::Redact))
}

/// What decides findings of a kind: only what the rule can do, and what changes something about them.
fn ways(kind: &Kind, ruled: &Ruled, curation: &Curation, again: &Again) -> Vec<Way> {
    let mut ways = Vec::new();
    if kind.leaves {
        return ways;
    }
    if kind.is_open() && kind.is_of_split {
        ways.push(regroup(again));
    }
    let actions = actions(kind, curation.pseudonym_key.is_some());
    let actions = actions.into_iter().filter(|&action| action != ruled.action);
    ways.extend(actions.map(|action| {
        let option = option(ruled.doc.name, action);
        Way {
            does: does(action, kind).to_owned(),
            command: again.with(&option),
            option,
            section: "in a recipe, under [rules]",
            recipe: curation.text.rule_line(ruled, action),
        }
    }));
    ways
}

/// Splitting anew what came with sides.
fn regroup(again: &Again) -> Way {
    let option = "--regroup".to_owned();
    Way {
        does: "split train and validation rows anew, with what belongs together on one side".into(),
        command: again.with(&option),
        option,
        section: "in a recipe, under [split]",
        recipe: "regroup = true".into(),
    }
}

/// What can be done about findings of a kind, whatever is done now.
pub fn actions(kind: &Kind, has_names: bool) -> Vec<Action> {
    let Some(entry) = rules::named(&kind.rule) else {
        return Vec::new();
    };
    // Noting what must not be trained on unseen is no decision about it: that is what `allow` is for.
    let must_be_decided = matches!(
        kind.family,
        Family::PersonalData | Family::Leak | Family::Licence
    );
    let lets_it_stay = match must_be_decided || kind.is_open() {
        true => Action::Allow,
        false => Action::Report,
    };
    let replaces = kind.has_text && kind.family != Family::Format;
    let leaves = !kind.is_to_evaluate;
    let is_listed = kind.decision == Decision::Reported;
    [
        (Action::Redact, replaces),
        (Action::Pseudonymise, replaces && has_names),
        (Action::Drop, leaves && kind.decision != Decision::Dropped),
        (
            lets_it_stay,
            !is_listed && kind.decision != Decision::Allowed,
        ),
        (Action::Off, is_listed),
    ]
    .into_iter()
    .filter(|&(action, fits)| fits && entry.takes(action))
    .map(|(action, _)| action)
    .collect()
}

/// The option that has a rule do something, as for a shell.
pub fn option(rule: &str, action: Action) -> String {
    match action {
        Action::Allow => format!("--rule '{rule}=allow:REASON'"),
        action => format!("--rule {rule}={action}"),
    }
}

fn does(action: Action, kind: &Kind) -> &'static str {
    match action {
        Action::Redact => "replace the text by a placeholder",
        Action::Pseudonymise => "replace the text by a made-up one, the same for the same text",
        Action::Drop if kind.family == Family::Leak => "leave the training row out",
        Action::Drop => "leave the row out",
        Action::Allow => "keep the row as it is, and your REASON with the dataset",
        Action::Report | Action::Ask => "keep the row as it is",
        Action::Off => "do not look for it",
    }
}

/// Rows of each class before the rules and after them, in lines; empty where no row of a class has left.
pub fn class_lines(losses: &[Loss]) -> Vec<String> {
    let classes: Vec<&Loss> = losses.iter().filter(|loss| loss.of == "label").collect();
    if classes.iter().all(|class| class.before == class.after) {
        return Vec::new();
    }
    let row = |class: &&Loss| format!("  {}: {}, {}", class.name, class.before, class.after);
    let heading = "labels, before and after".to_owned();
    [heading]
        .into_iter()
        .chain(classes.iter().map(row))
        .collect()
}
