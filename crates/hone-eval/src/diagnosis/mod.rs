//! What a run's own numbers and its model's answers say about it: has it overfitted, memorized, forgotten, does it repeat
//! itself; which adapter to take, and what to change.
//!
//! Rules are pure functions, one topic a file. Each gives the figures it looked at and findings in words; none is silent about
//! how many rows it saw. What is made of all of them is [`Diagnosis`].

pub mod curves;
pub mod forgetting;
pub mod memorization;
pub mod outputs;
pub mod rows;

use serde::Serialize;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// Something is wrong with what was trained.
    Problem,
    /// Something to look at.
    Warning,
    /// Good to know.
    Note,
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The rule, such as `validation-rose`.
    pub rule: &'static str,
    /// How much it matters.
    pub weight: Weight,
    /// What was seen, with its figures.
    pub what: String,
    /// What to change, where something would help.
    pub change: Option<String>,
}

impl Finding {
    pub(crate) fn new(rule: &'static str, weight: Weight, what: String) -> Self {
        Self {
            rule,
            weight,
            what,
            change: None,
        }
    }

    pub(crate) fn change(self, change: impl Into<String>) -> Self {
        Self {
            change: Some(change.into()),
            ..self
        }
    }
}

/// What all findings come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The run went on after what it learned stopped being of use for other rows.
    Overfitted,
    /// Training rows come out by heart more often than rows like them, while validation loss has not risen.
    Memorized,
    /// Validation loss never fell.
    LearnedNothing,
    /// Something is wrong that is not overfitting.
    Problem,
    /// Nothing speaks against it.
    Sound,
    /// There is too little to tell by.
    Unclear,
}

/// The adapter to take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommended {
    /// The directory in the run's: `adapter` or `last`.
    pub adapter: &'static str,
    /// The step it is of.
    pub step: usize,
    /// Why this one.
    pub why: String,
}

/// Everything that was looked at; what was not is `None`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// In a word.
    pub verdict: Verdict,
    /// The adapter to take.
    pub recommended: Recommended,
    /// What was seen, what matters most first.
    pub findings: Vec<Finding>,
    /// Losses of training and validation.
    pub curves: curves::Figures,
    /// Losses of training rows.
    pub rows: Option<rows::Figures>,
    /// What the model writes.
    pub outputs: Option<outputs::Compared>,
    /// What of the training rows it writes by heart.
    pub memorization: Option<memorization::Figures>,
    /// What the base lost.
    pub forgetting: Option<forgetting::Figures>,
}

/// Rules that give a run its verdict, the first that holds.
const VERDICTS: [(&str, Verdict); 3] = [
    (curves::VALIDATION_ROSE, Verdict::Overfitted),
    (curves::NEVER_BETTER, Verdict::LearnedNothing),
    (memorization::MEMORIZED, Verdict::Memorized),
];

impl Diagnosis {
    /// Judges curves first, and then whatever else was looked at.
    pub fn of(
        curves: &curves::Curves,
        rows: Option<(rows::Figures, Vec<Finding>)>,
        outputs: Option<(outputs::Compared, Vec<Finding>)>,
        memorization: Option<(memorization::Figures, Vec<Finding>)>,
        forgetting: Option<(forgetting::Figures, Vec<Finding>)>,
    ) -> Self {
        let (curves, mut findings) = curves.judge();
        fn take<T>(part: Option<(T, Vec<Finding>)>, findings: &mut Vec<Finding>) -> Option<T> {
            let (figures, own) = part?;
            findings.extend(own);
            Some(figures)
        }
        let rows = take(rows, &mut findings);
        let outputs = take(outputs, &mut findings);
        let memorization = take(memorization, &mut findings);
        let forgetting = take(forgetting, &mut findings);
        // Stable, so that of equal weight the curves come first.
        findings.sort_by_key(|finding| finding.weight);
        Self {
            verdict: verdict(&findings, &curves, memorization.is_some()),
            recommended: curves.recommend(),
            findings,
            curves,
            rows,
            outputs,
            memorization,
            forgetting,
        }
    }

    /// The verdict in a sentence.
    pub fn sentence(&self) -> String {
        match self.verdict {
            Verdict::Overfitted => {
                "overfitted: it learned its training rows beyond what helps with others".into()
            }
            Verdict::Memorized => "it writes training rows by heart".into(),
            Verdict::LearnedNothing => "it learned nothing that helps with other rows".into(),
            Verdict::Problem => "not overfitted, but something is wrong".into(),
            Verdict::Sound => "sound: nothing speaks against it".into(),
            Verdict::Unclear => "there is too little to tell by".into(),
        }
    }

    /// All of it in words, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.sentence()];
        for finding in &self.findings {
            lines.push(format!("{}: {}", finding.rule, finding.what));
            lines.extend(finding.change.iter().map(|change| format!("  {change}")));
        }
        let Recommended { adapter, why, .. } = &self.recommended;
        lines.push(format!("take {adapter}/: {why}"));
        lines
    }
}

fn verdict(findings: &[Finding], curves: &curves::Figures, asked_rows: bool) -> Verdict {
    let problems = findings
        .iter()
        .filter(|finding| finding.weight == Weight::Problem);
    let rules: Vec<&str> = problems.map(|finding| finding.rule).collect();
    if !rules.is_empty() {
        let mut verdicts = VERDICTS
            .into_iter()
            .filter(|(rule, _)| rules.contains(rule));
        return verdicts
            .next()
            .map_or(Verdict::Problem, |(_, verdict)| verdict);
    }
    match curves.validations > 1 || asked_rows {
        true => Verdict::Sound,
        false => Verdict::Unclear,
    }
}

/// `1 row`, `2 rows`.
pub(crate) fn plural(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
