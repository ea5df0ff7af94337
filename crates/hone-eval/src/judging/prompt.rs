//! What a judge is asked, in our own words.

/// In which order a pair is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first model's answer is A.
    FirstIsA,
    /// The second model's is.
    SecondIsA,
}

const FAIR: &str = "Judge what is said, not how long it is or how it is laid out, and do not let the order of the answers count.";

/// System and user message for a pair of answers.
pub fn pairwise(
    criteria: &str,
    asked: &str,
    reference: Option<&str>,
    (first, second): (&str, &str),
    order: Order,
) -> [String; 2] {
    let (a, b) = match order {
        Order::FirstIsA => (first, second),
        Order::SecondIsA => (second, first),
    };
    let system = format!(
        "You compare two answers to the same request. {criteria} {FAIR} Say in a few sentences what decides it. Then end with your verdict and nothing after it: [[A]] if answer A is better, [[B]] if answer B is better, [[C]] if neither is."
    );
    let user = [
        part("Request", asked),
        reference.map_or_else(String::new, |text| {
            part("A good answer, for reference", text)
        }),
        part("Answer A", a),
        part("Answer B", b),
    ];
    [system, user.concat()]
}

/// System and user message for one answer.
pub fn single(criteria: &str, asked: &str, reference: Option<&str>, answer: &str) -> [String; 2] {
    let system = format!(
        "You rate an answer to a request. {criteria} {FAIR} Say in a few sentences what is good and what is not. Then end with a rating from 1, useless, to 10, perfect, in double brackets and nothing after it, as in: [[5]]"
    );
    let user = [
        part("Request", asked),
        reference.map_or_else(String::new, |text| {
            part("A good answer, for reference", text)
        }),
        part("Answer", answer),
    ];
    [system, user.concat()]
}

/// A text between lines that it cannot end by itself: they name how long it is.
fn part(name: &str, text: &str) -> String {
    let characters = text.chars().count();
    format!("### {name} ({characters} characters)\n{text}\n### End of: {name}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_changes_what_stands_first_and_nothing_else() {
        let of = |order| pairwise("Be just.", "Why?", Some("So."), ("one", "two"), order);
        let ([system, straight], [same, turned]) = (of(Order::FirstIsA), of(Order::SecondIsA));
        assert_eq!(system, same);
        let swapped = straight
            .replace("one", "#")
            .replace("two", "one")
            .replace('#', "two");
        // The marks of headings were exchanged too.
        let restored = swapped.replace("twotwotwo", "###");
        assert_eq!(restored, turned);
        assert!(straight.find("one").unwrap() < straight.find("two").unwrap());
        assert!(system.contains("Be just.") && straight.contains("So."));
        let [_, alone] = single("", "Why?", None, "one");
        assert!(!alone.contains("reference"));
    }
}
