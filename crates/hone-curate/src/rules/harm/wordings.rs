//! Words that are looked for in several languages, one small pattern each, built when a text first calls for it.
//!
//! One pattern for all languages takes megabytes of memory in every run, most of it for languages that no row is in.
//! Each language has cues instead: pieces of which every match has at least one. One pass over a text finds the cues
//! of all languages, and only languages with one are looked at.

use std::ops::Range;
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, MatchKind};
use regex::{Regex, RegexBuilder};

/// What is looked for in one language.
pub struct Wording {
    /// Of these every match has at least one, in any case of ASCII letters. The fewer texts have one, the less is looked for.
    pub cues: &'static [&'static str],
    /// Without regard to case. `\b` is the bound of an ASCII word, `'` an apostrophe, straight or curly.
    pub pattern: fn() -> String,
}

/// A list of wordings, what was built of it so far.
pub struct Wordings {
    wordings: &'static [Wording],
    cues: OnceLock<Cues>,
    /// As many as there are wordings; none has more than this.
    built: [OnceLock<Regex>; MOST],
}

/// The cues of all wordings, and the number of the wording that each belongs to.
struct Cues {
    search: AhoCorasick,
    owners: Vec<usize>,
}

const MOST: usize = 24;
/// What a pattern may keep to be quick; beyond it, it is built anew on the way.
const CACHE_BYTES: usize = 1 << 18;

impl Cues {
    fn of(wordings: &[Wording]) -> Self {
        let each = wordings.iter().enumerate();
        let each =
            each.flat_map(|(index, wording)| wording.cues.iter().map(move |cue| (index, cue)));
        let (owners, cues): (Vec<usize>, Vec<&str>) = each.unzip();
        let search = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(cues)
            .expect("a short list of cues");
        Self { search, owners }
    }
}

impl Wordings {
    /// Nothing is built yet.
    pub const fn new(wordings: &'static [Wording]) -> Self {
        assert!(wordings.len() <= MOST);
        Self {
            wordings,
            cues: OnceLock::new(),
            built: [const { OnceLock::new() }; MOST],
        }
    }

    /// The first match, of any language, that `is_meant`.
    pub fn find(
        &self,
        text: &str,
        is_meant: impl Fn(Range<usize>) -> bool,
    ) -> Option<Range<usize>> {
        let called = self.called(text);
        let each = (0..self.wordings.len()).filter(|index| called & (1 << index) != 0);
        let first = each.filter_map(|index| {
            let mut found = self
                .pattern(index)
                .find_iter(text)
                .map(|found| found.range());
            found.find(|found| is_meant(found.clone()))
        });
        first.min_by_key(|found| found.start)
    }

    /// A bit for each wording that the text may have.
    fn called(&self, text: &str) -> u32 {
        let cues = self.cues.get_or_init(|| Cues::of(self.wordings));
        let found = cues.search.find_overlapping_iter(text);
        found.fold(0, |called, cue| {
            called | 1 << cues.owners[cue.pattern().as_usize()]
        })
    }

    fn pattern(&self, index: usize) -> &Regex {
        self.built[index].get_or_init(|| {
            let pattern = format!("(?i)(?:{})", (self.wordings[index].pattern)());
            let pattern = pattern.replace(r"\b", r"(?-u:\b)").replace('\'', "['’]");
            RegexBuilder::new(&pattern)
                .dfa_size_limit(CACHE_BYTES)
                .build()
                .expect("a fixed pattern")
        })
    }
}

#[cfg(test)]
impl Wordings {
    /// Makes texts that each pattern matches, and asks whether its cues call for it.
    pub fn assert_that_cues_call(&self) {
        use proptest::strategy::{Strategy, ValueTree};
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut uncalled = Vec::new();
        for (index, wording) in self.wordings.iter().enumerate() {
            // What stands at a bound or an end is not made up; the text around it is.
            let bounds = [r"\b", r"\A", "^", "$"];
            let pattern = bounds.iter().fold((wording.pattern)(), |pattern, bound| {
                pattern
                    .replace("[^", "[\u{0}")
                    .replace(bound, "")
                    .replace("[\u{0}", "[^")
            });
            let texts = proptest::string::string_regex(&pattern).expect("a pattern without bounds");
            for _ in 0..2_000 {
                let text = texts.new_tree(&mut runner).expect("a text").current();
                if self.called(&text) & (1 << index) == 0 {
                    uncalled.push(format!("{text:?} of {pattern}"));
                    break;
                }
            }
        }
        assert!(uncalled.is_empty(), "no cue in {}", uncalled.join("\n"));
    }
}
