//! Check digits: the sums that tell a number from a row of digits.
//!
//! All take digits as values 0 to 9, the check digit last, unless said otherwise.

/// Luhn's sum (ISO/IEC 7812): every second digit from the right doubled, its digits added.
pub fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| match (place % 2, u32::from(digit)) {
            (0, digit) => digit,
            (_, digit) => digit * 2 / 10 + digit * 2 % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// ISO 7064 mod 97-10 of letters and digits as characters, as in an IBAN moved round by four.
pub fn mod_97(characters: impl Iterator<Item = u8>) -> u32 {
    characters.fold(0, |rest, c| match c {
        b'0'..=b'9' => (rest * 10 + u32::from(c - b'0')) % 97,
        _ => (rest * 100 + u32::from(c.to_ascii_uppercase() - b'A' + 10)) % 97,
    })
}

/// ISO 7064 mod 11,10: the German tax number.
pub fn mod_11_10(digits: &[u8]) -> bool {
    let Some((&check, payload)) = digits.split_last() else {
        return false;
    };
    let product = payload.iter().fold(10, |product, &digit| {
        let sum = (u32::from(digit) + product) % 10;
        let sum = if sum == 0 { 10 } else { sum };
        sum * 2 % 11
    });
    (11 - product) % 10 == u32::from(check)
}

/// The sum of digits times weights, as far as both go.
pub fn weighted(digits: &[u8], weights: &[i32]) -> i32 {
    let product = |(&digit, &weight): (&u8, &i32)| i32::from(digit) * weight;
    digits.iter().zip(weights).map(product).sum()
}

/// Verhoeff's sum over the dihedral group of the pentagon: Aadhaar.
pub fn verhoeff(digits: &[u8]) -> bool {
    let rest = digits
        .iter()
        .rev()
        .enumerate()
        .fold(0, |sum, (place, &digit)| {
            let turned = (0..place % 8).fold(digit, |digit, _| PERMUTED[usize::from(digit)]);
            dihedral(sum, turned)
        });
    rest == 0
}

/// One step of Verhoeff's permutation; place `n` takes `n` steps.
const PERMUTED: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];

/// The product in the dihedral group: 0 to 4 turn the pentagon, 5 to 9 turn it over.
fn dihedral(a: u8, b: u8) -> u8 {
    match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b) % 5 + 5,
        (false, true) => (a - b) % 5 + 5,
        (false, false) => (5 + a - b) % 5,
    }
}

/// The values of the digits in a text, whatever stands between them.
pub fn digits(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter(u8::is_ascii_digit);
    digits.map(|digit| digit - b'0').collect()
}

/// Is this a day of the calendar?
pub fn is_day(year: u32, month: u32, day: u32) -> bool {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the ten last digits exactly the given one passes.
    fn only(passes: fn(&[u8]) -> bool, number: &str) {
        let given = digits(number);
        for last in 0..10 {
            let mut tried = given.clone();
            *tried.last_mut().unwrap() = last;
            assert_eq!(passes(&tried), tried == given, "{tried:?}");
        }
    }

    #[test]
    fn one_check_digit_of_ten_passes() {
        only(luhn, "79927398713"); // Wikipedia's example of Luhn's sum
        only(verhoeff, "2363"); // and of Verhoeff's
        only(mod_11_10, "86095742719"); // the Federal Central Tax Office's example
    }

    #[test]
    fn verhoeff_notices_every_swap_of_neighbours() {
        let number = digits("2345678912340");
        let valid: Vec<u8> = (0..10)
            .map(|last| [&number[..12], &[last]].concat())
            .find(|tried| verhoeff(tried))
            .unwrap();
        for at in 0..valid.len() - 1 {
            let mut swapped = valid.clone();
            swapped.swap(at, at + 1);
            assert_eq!(verhoeff(&swapped), valid[at] == valid[at + 1], "{at}");
        }
    }

    #[test]
    fn the_registry_s_example_iban_leaves_one() {
        assert_eq!(mod_97(b"WEST12345698765432GB82".iter().copied()), 1);
        assert_ne!(mod_97(b"WEST12345698765423GB82".iter().copied()), 1);
    }

    #[test]
    fn the_calendar_knows_leap_years() {
        assert!(is_day(2024, 2, 29) && is_day(2000, 2, 29));
        assert!(!is_day(2023, 2, 29) && !is_day(1900, 2, 29));
        assert!(!is_day(2024, 13, 1) && !is_day(2024, 4, 31) && !is_day(2024, 0, 1));
    }
}
