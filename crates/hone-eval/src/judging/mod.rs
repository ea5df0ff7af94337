//! A language model as judge: what it is asked, what its reply means, and what many replies say of two models.
//!
//! Judges favour what stands first, so a pair is shown in both orders and only a verdict that survives the exchange counts
//! (Zheng et al. 2023); one that does not is a tie.

mod prompt;
mod tally;

pub use prompt::{Order, pairwise, single};
pub use tally::{Pairwise, Ratings, Single, Verdict, of_pair};

/// What a judge chose in a pair as it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The answer that stood first.
    A,
    /// The other one.
    B,
    /// Neither.
    Tie,
}

/// The choice in a reply: the last of `[[A]]`, `[[B]]` and `[[C]]`. `None` where there is none.
pub fn choice(reply: &str) -> Option<Choice> {
    Some(match last_bracketed(reply)?.to_ascii_uppercase().as_str() {
        "A" => Choice::A,
        "B" => Choice::B,
        "C" => Choice::Tie,
        _ => return None,
    })
}

/// The rating in a reply, from 1 to 10: the last number in double brackets. `None` where there is none.
pub fn rating(reply: &str) -> Option<f64> {
    let rating: f64 = last_bracketed(reply)?.parse().ok()?;
    (1.0..=10.0).contains(&rating).then_some(rating)
}

fn last_bracketed(reply: &str) -> Option<&str> {
    let (before, _) = reply.rsplit_once("]]")?;
    let (_, inside) = before.rsplit_once("[[")?;
    Some(inside.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_verdict_counts_and_garbage_is_none() {
        assert_eq!(choice("I thought [[A]], but no: [[b]]"), Some(Choice::B));
        assert_eq!(choice("[[ C ]]"), Some(Choice::Tie));
        for garbage in ["", "A", "[[D]]", "[[", "]]", "]] [[A", "[[A] ]"] {
            assert_eq!(choice(garbage), None, "{garbage}");
        }
        assert_eq!(rating("Rating: [[7.5]]."), Some(7.5));
        for garbage in ["[[11]]", "[[0]]", "[[NaN]]", "[[ten]]", "7"] {
            assert_eq!(rating(garbage), None, "{garbage}");
        }
    }
}
