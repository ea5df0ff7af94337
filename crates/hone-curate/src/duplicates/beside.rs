//! Two rows beside each other, with what differs marked.

use hone_data::Record;

use crate::Beside;

/// Words told before and behind one that differs.
const AROUND: usize = 6;
/// Words of each text that are compared; of longer ones the beginning.
const COMPARED: usize = 600;
/// Characters told of a text.
const TOLD: usize = 400;

/// What two rows say where they first differ, each word that differs in `⟦ ⟧`; `None` if they say the same. `shown` is a
/// text as it may be shown.
pub(crate) fn beside(
    this: &Record,
    kept: &Record,
    shown: impl Fn(&str) -> String,
) -> Option<Beside> {
    let mut pairs = this.parts().zip(kept.parts());
    let (this, kept) = pairs.find(|(this, kept)| this.text != kept.text)?;
    let (this, kept) = (shown(this.text), shown(kept.text));
    let (this, kept) = (words(&this), words(&kept));
    let (mine, theirs) = differing(&this, &kept);
    Some(Beside {
        this: told(&this, &mine),
        kept: told(&kept, &theirs),
    })
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().take(COMPARED).collect()
}

/// Which words of each are not in the longest common subsequence, whatever their case.
fn differing(a: &[&str], b: &[&str]) -> (Vec<bool>, Vec<bool>) {
    let folded =
        |words: &[&str]| -> Vec<String> { words.iter().map(|word| word.to_lowercase()).collect() };
    let (x, y) = (folded(a), folded(b));
    let width = y.len() + 1;
    let mut longest = vec![0_u16; (x.len() + 1) * width];
    for i in (0..x.len()).rev() {
        for j in (0..y.len()).rev() {
            longest[i * width + j] = match x[i] == y[j] {
                true => longest[(i + 1) * width + j + 1] + 1,
                false => longest[(i + 1) * width + j].max(longest[i * width + j + 1]),
            };
        }
    }
    let (mut mine, mut theirs) = (vec![true; x.len()], vec![true; y.len()]);
    let (mut i, mut j) = (0, 0);
    while i < x.len() && j < y.len() {
        if x[i] == y[j] {
            (mine[i], theirs[j]) = (false, false);
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    (mine, theirs)
}

/// The words around those that differ, which are marked; the beginning, if only case or spaces differ.
fn told(words: &[&str], differs: &[bool]) -> String {
    let near = |at: usize| {
        let from = at.saturating_sub(AROUND);
        let until = (at + AROUND + 1).min(words.len());
        differs[from..until].contains(&true)
    };
    let any = differs.contains(&true);
    let (mut text, mut is_open, mut gap) = (String::new(), false, false);
    for (at, word) in words.iter().enumerate() {
        let is_told = if any { near(at) } else { at < 4 * AROUND };
        if !is_told {
            gap = true;
            continue;
        }
        if is_open && !differs[at] {
            text.push('⟧');
        }
        if !text.is_empty() {
            text.push(' ');
        }
        if gap {
            text.push_str("… ");
        }
        if differs[at] && !is_open {
            text.push('⟦');
        }
        text.push_str(word);
        (is_open, gap) = (differs[at], false);
    }
    if is_open {
        text.push('⟧');
    }
    if gap {
        text.push_str(" …");
    }
    match text.chars().count() > TOLD {
        true => text.chars().take(TOLD).chain(['…']).collect(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::planted::{chat, text};
    use super::*;

    #[test]
    fn what_differs_is_marked_and_what_is_far_from_it_is_left_out() {
        let words = |word: &str| {
            format!(
                "one two three four five six seven eight nine ten {word} eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen"
            )
        };
        let found = beside(&text(&words("red")), &text(&words("blue")), str::to_owned).unwrap();
        assert_eq!(
            found.this,
            "… five six seven eight nine ten ⟦red⟧ eleven twelve thirteen fourteen fifteen sixteen …"
        );
        assert!(found.kept.contains("⟦blue⟧"));
        let found = beside(&chat("a b", "c"), &chat("A b", "c"), str::to_owned).unwrap();
        assert_eq!((&*found.this, &*found.kept), ("a b", "A b"));
        assert_eq!(beside(&text("same"), &text("same"), str::to_owned), None);
        let masked = beside(
            &text("to bo@x.org now"),
            &text("to bo@x.org then"),
            |text| text.replace("bo@x.org", "b•"),
        );
        assert_eq!(masked.unwrap().this, "to b• ⟦now⟧");
    }
}
